"""Copies of large networks that refer to themselves do not pile up from batch to batch."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from torch import nn

from attrobust.benchmark.evaluation.garbage import COPIES, ROOM, Garbage


@pytest.fixture
def _uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def left_behind() -> weakref.ref[nn.Module]:
    """A network that nothing but itself refers to."""
    network = nn.Flatten()
    network.itself = [network]  # type: ignore[assignment]
    return weakref.ref(network)


@pytest.mark.usefixtures("_uncollected")
def test_what_batches_of_a_large_network_leave_is_freed_once_it_is_much() -> None:
    large, garbage = nn.Linear(1024, ROOM // (3 * 1024 * 4 * COPIES), bias=False), Garbage()
    copies = []
    for _ in range(7):
        copies.append(left_behind())
        garbage.left_by(large)
    assert [copy() is None for copy in copies] == [True] * 4 + [False] * 3


@pytest.mark.usefixtures("_uncollected")
def test_batches_of_a_small_network_cost_no_search() -> None:
    small, garbage, copy = nn.Linear(8, 8), Garbage(), left_behind()
    for _ in range(100):
        garbage.left_by(small)
    assert copy() is not None
