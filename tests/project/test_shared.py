"""A test that changes what fixtures hand to others fails itself, whatever it changes and however."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attrobust.benchmark.data.base import ArraySplit, Loaded

from helpers.shared import Guard, Shared


def something() -> tuple[Loaded, nn.Module, Tensor]:
    """What fixtures return: a dataset, a network, images."""
    images = torch.arange(4 * 16, dtype=torch.uint8).view(4, 1, 4, 4)
    split = ArraySplit(images, torch.arange(4))
    data = Loaded(splits={"test": split}, classes=tuple("0123"), channels=1, size=4, mean=(0.5,), std=(0.5,))
    return data, nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 4)).eval(), images.float() / 255


def labels(data: Loaded) -> Tensor:
    return data.splits["test"].labels


def last(network: nn.Module) -> nn.Linear:
    layer = [*network.modules()][-1]
    assert isinstance(layer, nn.Linear)
    return layer


CHANGES: dict[str, tuple[Callable[[Loaded, nn.Module, Tensor], object], str]] = {
    "labels zeroed": (lambda data, _, __: labels(data).zero_(), "given[0].splits['test'].labels"),
    "labels in another order": (lambda data, _, __: labels(data).copy_(labels(data).flip(0)), "labels"),
    "behind autograd's back": (lambda _, network, __: last(network).weight.data.mul_(2), "given[1].2.weight"),
    "through numpy": (lambda _, __, x: x.numpy().fill(0.5), "given[2]"),
    "other labels": (lambda data, _, __: setattr(data.splits["test"], "labels", torch.zeros(4).long()), "labels"),
    "other weights": (lambda _, network, __: setattr(last(network), "bias", nn.Parameter(torch.ones(4))), "2.bias"),
    "requires_grad": (lambda _, network, __: last(network).requires_grad_(False), "given[1].2.weight"),
    "a gradient left": (lambda _, network, x: network(x).sum().backward(), "given[1].2.weight"),
    "images that require gradients": (lambda _, __, x: x.requires_grad_(), "given[2]"),
    "training mode": (lambda _, network, __: network.train(), "given[1]: mode or hooks"),
    "running statistics": (lambda _, network, x: (network.train()(x), network.eval()), "given[1].1.running_mean"),
    "a hook left": (lambda _, network, __: last(network).register_forward_hook(print), "given[1].2: mode or hooks"),
    "another dtype": (lambda _, network, __: network.double(), "given[1].2.weight"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_once_and_named(name: str) -> None:
    change, place = CHANGES[name]
    given, shared = something(), Shared()
    shared.keep("key", "given", given)
    assert shared.changed(["given"]) == []
    change(*given)
    assert any(place in found for found in shared.changed(["given"]))
    assert shared.changed(["given"]) == [], "those that follow are not blamed"


def test_use_is_no_change() -> None:
    data, network, x = given = something()
    shared = Shared()
    shared.keep("key", "given", given)
    attached = data.splits["test"].batch(range(4))[0] + x.clone().requires_grad_()
    torch.autograd.grad(network(attached).sum(), attached)
    assert shared.changed(["given"]) == []


FILE = """
import pytest, torch

@pytest.fixture(scope="session")
def x():
    return torch.ones(3)

@pytest.fixture
def own(x):
    return x.clone()

def test_reads(x):
    assert x.sum() == 3

def test_changes_its_own(own):
    own.zero_()

def test_changes(x):
    x[0] = 2

def test_reads_again(x):
    pass

@pytest.fixture
def lent(x):
    return x

def test_changes_what_it_has_through_another(lent):
    lent[0] = 3

def test_reads_nothing():
    pass
"""


class Noted:
    """The reports of tests that do not pass."""

    def __init__(self) -> None:
        self.failed: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append((report.nodeid.rpartition("::")[2], str(report.longrepr)))


def test_the_tests_that_change_something_fail_alone(tmp_path: Path) -> None:
    (tmp_path / "test_file.py").write_text(FILE)
    noted = Noted()
    options = ["-q", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    assert pytest.main([*options, str(tmp_path)], plugins=[Guard(), noted]) == 1
    told = "this test changes what it shares with others: x"
    assert noted.failed == [("test_changes", told), ("test_changes_what_it_has_through_another", told)]
