"""Timings, run by hand on an idle machine: ``pytest tests/speed``. CI never times anything."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import scipy.stats
import torch

from attrobust.metrics.similarity.spearman import Spearman

from helpers.runs import start


def fastest(job: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some repeats."""
    seconds = []
    for _ in range(repeats):
        started = time.monotonic()
        job()
        seconds.append(time.monotonic() - started)
    return min(seconds)


@pytest.mark.parametrize(("words", "limit"), [(["--list"], 0.3), (["--help"], 0.3), (["--methods", "agaa"], 1.0)])
def test_quick_answers_are_quick(words: list[str], limit: float) -> None:
    assert fastest(lambda: start(words).communicate()) < limit


@pytest.mark.parametrize(("count", "side"), [(128, 55), (16, 224)])
def test_ranks_are_five_times_as_fast_as_scipy_image_by_image(count: int, side: int) -> None:
    a, b = torch.rand(2, count, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = list(zip(a.flatten(1).numpy(), b.flatten(1).numpy(), strict=True))
    ours = fastest(lambda: Spearman()(a, b))
    theirs = fastest(lambda: [scipy.stats.spearmanr(x, y) for x, y in pairs], 2)
    print(f"{count} maps of {side}x{side}: {ours:.3f} s, scipy {theirs:.3f} s, {theirs / ours:.1f} times")
    assert 5 * ours <= theirs
