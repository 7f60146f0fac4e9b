"""Settings of the process that decide numbers: kept from components, and taken back from them.

Covered are torch's default dtype and device, its modes (gradients, inference, autocast), deterministic kernels, the
number of threads, the precision of products, denormal numbers, the switches of its backends, hooks on all modules,
NumPy's treatment of floating-point errors, the current folder, and the random states of torch, NumPy and Python. Not
covered are filters of warnings, environment variables, and what a component changes in the code of other modules.

Components compute without denormal numbers: floats closer to zero than 1.2e-38 (2.2e-308 in float64) are zero. Tails
of a sharp softplus are full of them, and processors take many times as long over them. The processor's flag for this
belongs to a thread, and a thread inherits it from the one that makes it. ``flush_in_all_threads`` is for a process that
is all ours. In a process of others the flag is set in the thread that calls us, and put back; the other threads of
torch's pool keep theirs, so there only they are slower.
"""

from __future__ import annotations

import ctypes
import functools
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules

from attrobust.naming.safe import has_words, message_of
from attrobust.places import ours

Setting = tuple[Callable[[], Any], Callable[[Any], object]]
"""A setting of the process: what reads it, and what sets it."""

SMALLEST_NORMAL = 2.0**-1022
PARALLEL = 2**18
"""Numbers that torch divides among the threads of its pool, whatever is done with them."""
LARGE, FREED = 2**25, 2**28
"""Bytes of an array that has memory of its own from the system, and of freed memory that is kept for further arrays."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""The numbers of these settings in glibc's malloc.h."""
PRECISIONS = ("cuda.matmul", "mkldnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
"""Backends that have a precision of their own, in versions of torch that know ``fp32_precision``."""


def _attribute(path: str) -> Setting:
    """An attribute of a module below ``torch.backends``; raises AttributeError where there is none."""
    *parents, name = path.split(".")
    owner: Any = torch.backends
    for parent in parents:
        owner = getattr(owner, parent)
    getattr(owner, name)
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _readable(read: Callable[[], Any], write: Callable[[Any], object]) -> Setting:
    """A setting that torch refuses to read where an older and a newer interface have set it differently."""

    def attempt() -> Any:
        try:
            return read()
        except RuntimeError:
            return None

    return attempt, lambda value: None if value is None else write(value)


def _autocast(device: str) -> Setting:
    return lambda: torch.is_autocast_enabled(device), lambda value: torch.set_autocast_enabled(device, value)


def _current_folder() -> Path | None:
    """The current folder; None where it has been removed, or cannot be read."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _go_back(folder: Path | None) -> None:
    """Make a folder the current one again; where it has been removed since, there is none to go back to."""
    with suppress(OSError):
        if folder is not None:
            os.chdir(folder)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def flush_in_all_threads() -> None:
    """Let this thread treat denormal numbers as zero, and all that torch's pool has made of it later.

    For the start of a process that is ours, before anything is computed by several threads.
    """
    torch.set_flush_denormal(True)


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed arrays, as far as it is not set by variables of the environment.

    A step of an attack frees what the next one needs. Given back to the system, it is new pages each time, which the
    system fills with zeros. Elsewhere than with glibc nothing is done. For the start of a process that is ours.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )
    if sys.platform != "linux" or chosen:
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, LARGE)
        set_option(_TRIM_THRESHOLD, FREED)


@functools.cache
def _make_pool() -> None:
    """Let torch make the threads of its pool, which inherit what this thread does with denormal numbers by now."""
    torch.ones(PARALLEL).neg_()


def _flushes_denormals() -> bool:
    # torch cannot be asked; the processor's flag acts on Python's numbers too.
    return SMALLEST_NORMAL / 2 == 0.0


def _hooks(table: dict[int, Any]) -> Setting:
    """A table of hooks that act on every module; it is changed in place, since handles refer to it."""

    def restore(value: dict[int, Any]) -> None:
        table.clear()
        table.update(value)

    return table.copy, restore


def _backends() -> Iterator[Setting]:
    """The switches of torch's backends, as far as this version has them."""
    names = ["cudnn.enabled", "cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32", "mkldnn.enabled"]
    names += [f"cuda.matmul.allow_{kind}_reduced_precision_reduction" for kind in ("fp16", "bf16")]
    names += ["cuda.matmul.allow_tf32", "fp32_precision", *(f"{place}.fp32_precision" for place in PRECISIONS)]
    for name in names:
        try:
            yield _readable(*_attribute(name))
        except AttributeError:
            continue


def _attention() -> Iterator[tuple[Setting, bool]]:
    """The switches of torch's kernels for attention, as far as this version has them, and which of them are on.

    Only the one written out in products and softmax has second derivatives. The fast path of whole layers is taken
    without gradients only, so that a map and a prediction would be of two functions that differ by rounding.
    """
    cuda = torch.backends.cuda
    for kernel in ("flash", "mem_efficient", "cudnn", "math"):
        if hasattr(cuda, f"enable_{kernel}_sdp"):
            yield (getattr(cuda, f"{kernel}_sdp_enabled"), getattr(cuda, f"enable_{kernel}_sdp")), kernel == "math"
    mha = torch.backends.mha
    yield (mha.get_fastpath_enabled, mha.set_fastpath_enabled), False


_DTYPE: Setting = (torch.get_default_dtype, torch.set_default_dtype)
_GRADIENTS: Setting = (torch.is_grad_enabled, torch.set_grad_enabled)
_PRECISION = _readable(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)
_DENORMALS: Setting = (_flushes_denormals, torch.set_flush_denormal)
_AUTOCAST = (_autocast("cpu"), _autocast("cuda"))
_STANDARD: tuple[tuple[Setting, Any], ...] = (
    (_DTYPE, torch.float32),
    (_GRADIENTS, True),
    (_PRECISION, "highest"),
    (_DENORMALS, True),
    *((setting, False) for setting in _AUTOCAST),
    *_attention(),
)
"""Settings that are the same whoever calls: torch's own values, no denormal numbers, and attention with derivatives."""
_SETTINGS: tuple[Setting, ...] = (
    *(setting for setting, _ in _STANDARD),
    (
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
    ),
    (_deterministic, lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1])),
    (torch.get_num_threads, torch.set_num_threads),
    *_backends(),
    *(_hooks(table) for name, table in vars(modules).items() if name.startswith("_global_") and table is not None),
    (np.geterr, lambda value: np.seterr(**value)),
    (_current_folder, _go_back),
)


@contextmanager
def contained() -> Iterator[None]:
    """Raise an exception that ends processes, such as SystemExit, as a RuntimeError of its name and words.

    So is one that has no words, because its ``__str__`` raises. For what components and plug-ins run: it is a mistake
    like any other there. KeyboardInterrupt passes, by which users and signals end a process, and what attrobust raises
    itself.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if has_words(error) and (isinstance(error, Exception) or ours(type(error))):
            raise
        mistake: RuntimeError = type(type(error).__name__, (RuntimeError,), {})(message_of(error))
        raise mistake.with_traceback(error.__traceback__) from error


@contextmanager
def restored() -> Iterator[None]:
    """Afterwards every setting of the process is as it was; random states apart, see ``seeded``. As ``contained``."""
    before = [read() for read, _ in _SETTINGS]
    try:
        with contained():
            yield
    finally:
        for (read, write), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                write(value)


@contextmanager
def modes(*, denormals: bool = False) -> Iterator[None]:
    """Inside the block the caller's modes have no effect; afterwards they are as they were.

    Default dtype and device, gradients, inference mode, autocast and the precision of products are those that torch
    starts with. Denormal numbers are zero, but in this thread they are not with ``denormals``. Attention is computed by
    the kernel that has second derivatives.
    """
    _make_pool()
    before = [read() for (read, _), _ in _STANDARD]
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(mode=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        _set([not denormals if setting is _DENORMALS else value for setting, value in _STANDARD])
        try:
            yield
        finally:
            _set(before)


def _set(values: Sequence[Any]) -> None:
    for ((read, write), _), value in zip(_STANDARD, values, strict=True):
        if read() != value:
            write(value)


@contextmanager
def standard(*, denormals: bool = False) -> Iterator[None]:
    """As ``modes``, and as ``restored``: what a component is run in."""
    with restored(), modes(denormals=denormals):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """As ``standard``, with the random states of torch, NumPy and Python made from a seed, and restored afterwards."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    # GPUs that nothing has used yet are left alone: to ask them for their state would start them.
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if used else ()
    with standard(), torch.random.fork_rng(devices=gpus):
        try:
            seed_all(seed)
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def seed_all(seed: int) -> None:
    """Seed torch, NumPy and Python."""
    if _accelerated():
        torch.manual_seed(seed)
    else:
        # Without the seeds of GPUs that are not there, which torch keeps a list of, with a stack trace for each.
        torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


@functools.cache
def _accelerated() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()


def normal(x: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy that can be differentiated of one that was made in inference mode."""
    return x.clone() if x.is_inference() else x
