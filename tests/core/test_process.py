"""What components set in the process is put back, and what the caller has set has no effect on them."""

from __future__ import annotations

import mmap
import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from attrobust import process
from attrobust.process import modes, normal, restored, seeded, standard

ROOT = Path(__file__).parents[2]
SETTERS: dict[str, Callable[[], object]] = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic kernels": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "denormal numbers": lambda: torch.set_flush_denormal(True),
    "precision of products": lambda: torch.set_float32_matmul_precision("medium"),
    "precision on a GPU": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "kernels chosen by speed": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "fast paths of attention": lambda: torch.backends.mha.set_fastpath_enabled(False),
    "hooks on all modules": lambda: torch.nn.modules.module.register_module_forward_pre_hook(lambda *_: None),
    "floating-point errors": lambda: np.seterr(divide="raise"),
}


def state() -> list[object]:
    return [read() for read, _ in process._SETTINGS]


@pytest.mark.parametrize("name", SETTERS)
def test_a_setting_is_put_back(name: str) -> None:
    before = state()
    with pytest.raises(ZeroDivisionError), restored():
        SETTERS[name]()
        assert state() != before
        raise ZeroDivisionError
    assert state() == before


@pytest.mark.parametrize("inside", [modes, standard], ids=["modes", "standard"])
def test_the_modes_of_the_caller_have_no_effect_inside_and_are_the_same_afterwards(
    inside: Callable[[], AbstractContextManager[None]],
) -> None:
    with (
        restored(),
        torch.inference_mode(),
        torch.device("meta"),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.set_flush_denormal(False)
        before = state()
        with inside():
            x = torch.full((2, 2), 0.1, requires_grad=True)
            (gradient,) = torch.autograd.grad((x @ x).sum(), x)
            assert (x.dtype, x.device.type, gradient.dtype) == (torch.float32, "cpu", torch.float32)
            assert torch.get_float32_matmul_precision() == "highest"
            assert 2.0**-1022 / 2 == 0
        assert state() == before
        assert torch.zeros(1).is_inference()
        assert torch.zeros(1).device.type == "meta"


def test_random_states_are_those_of_the_seed_inside_and_the_caller_s_afterwards() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), random.random(), float(np.random.rand())

    with seeded(0):
        first = draw()
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    with seeded(0):
        assert draw() == first
    with seeded(1):
        assert draw() != first
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]


def share_of_denormals() -> float:
    """Of products that are 1e-39, the share that is not zero."""
    return float((torch.full((2**20,), 1e-20) * 1e-19).count_nonzero() / 2**20)


@pytest.mark.parametrize("inside", [modes, standard, lambda: seeded(0)], ids=["modes", "standard", "seeded"])
def test_denormal_numbers_are_zero_inside_and_are_kept_afterwards(
    inside: Callable[[], AbstractContextManager[None]],
) -> None:
    with restored():
        torch.set_num_threads(1)
        torch.set_flush_denormal(False)
        assert share_of_denormals() == 1
        with inside():
            assert share_of_denormals() == 0
        assert share_of_denormals() == 1


@pytest.mark.parametrize("inside", [modes, standard])
def test_maps_are_compared_with_denormal_numbers(inside: Callable[..., AbstractContextManager[None]]) -> None:
    with restored(), seeded(0):
        torch.set_num_threads(1)
        with inside(denormals=True):
            assert share_of_denormals() == 1
        assert share_of_denormals() == 0


IN_A_PROCESS = """
import torch
from attrobust.process import flush_in_all_threads, modes
torch.set_num_threads(2)
{first}
with modes():
    inside = (torch.full((2**20,), 1e-20) * 1e-19).count_nonzero() / 2**20
print(float(inside), float((torch.full((2**20,), 1e-20) * 1e-19).count_nonzero() / 2**20))
"""


@pytest.mark.parametrize(
    ("first", "wanted"), [("", "0.5 1.0"), ("flush_in_all_threads()", "0.0 0.0")], ids=["library", "command"]
)
def test_threads_of_the_pool_are_left_alone_in_a_library_and_flush_in_a_process_of_ours(
    first: str, wanted: str
) -> None:
    code = IN_A_PROCESS.format(first=first)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == wanted


NEW_PAGES = """
import resource, torch
from attrobust.process import keep_freed_memory
{first}
def compute():
    return [torch.ones(2**20) for _ in range(16)]
compute(), compute()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
compute()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(
    ("first", "variables", "kept"),
    [
        ("", {}, False),
        ("keep_freed_memory()", {}, True),
        ("keep_freed_memory()", {"MALLOC_TRIM_THRESHOLD_": "131072"}, False),
    ],
    ids=["library", "command", "command with variables"],
)
def test_a_process_of_ours_computes_in_memory_that_it_has_freed_unless_variables_say_otherwise(
    first: str, variables: dict[str, str], kept: bool
) -> None:
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "GLIBC" not in name}
    environment |= {"PYTHONPATH": str(ROOT)} | variables
    code = NEW_PAGES.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    pages = 16 * 2**22 // mmap.PAGESIZE
    assert int(done.stdout) < pages / 20 if kept else int(done.stdout) > pages / 2


def test_a_tensor_made_in_inference_mode_is_copied_to_one_that_can_be_differentiated() -> None:
    with torch.inference_mode():
        x = torch.ones(2)
    assert not normal(x).is_inference()
    assert torch.equal(normal(x), x)
    ordinary = torch.ones(2)
    assert normal(ordinary) is ordinary


def test_the_current_folder_is_put_back_so_that_results_stay_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with restored():
        os.chdir("/")
    assert Path.cwd() == tmp_path


def test_a_current_folder_that_is_gone_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "there"
    there.mkdir()
    os.chdir(there)
    with restored():
        os.chdir(tmp_path)
        there.rmdir()
    assert Path.cwd() == tmp_path
