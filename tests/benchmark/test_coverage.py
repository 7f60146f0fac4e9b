"""What intervals and ties promise, by simulation: 95 % intervals cover 93 to 97 %, alike rows are told apart in 5 %."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch

from attrobust import load
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.statistics import Column, compare, over_seeds, wilson
from attrobust.benchmark.statistics.intervals import bootstrap
from attrobust.benchmark.store.schema import How
from attrobust.benchmark.store.store import Floats
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import ImageStreams
from attrobust.metrics.similarity.spearman import Spearman
from attrobust.metrics.similarity.topk import TopK

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


@pytest.fixture(scope="module")
def real(digits: Loaded) -> dict[str, Floats]:
    """Scores of 300 test digits under noise of 16/255: of skewness −1.4, and of −0.8 in steps of 1/78."""
    x = digits.splits["test"].batch(range(300))[0].double()
    model = load("digits/natural").double()
    noise = ImageStreams(0, range(len(x)), "coverage").uniform(x)
    target = model(x).argmax(dim=1)
    with torch.enable_grad():
        raw = [Saliency()(model, images, target).detach() for images in (x, (x + 16 / 255 * noise).clamp(0, 1))]
    maps = [reduce_map(part, "abs-sum") for part in raw]
    return {"spearman": Spearman()(*maps).numpy(), "topk": TopK()(*maps).numpy()}


def population(name: str, real: dict[str, Floats]) -> tuple[Draw, float]:
    """How samples are drawn, and the mean they are drawn around."""
    match name:
        case "normal":
            return lambda rng, shape: rng.normal(0, 1, shape), 0.0
        case "beta":
            return lambda rng, shape: rng.beta(5, 2, shape), 5 / 7
        case "spike":
            return lambda rng, shape: np.where(rng.random(shape) < 0.3, 1.0, rng.beta(4, 2, shape)), 0.3 + 0.7 * 2 / 3
        case _:
            return lambda rng, shape: rng.choice(real[name], shape), float(real[name].mean())


def coverage(draw: Draw, mean: float, n: int, how: How) -> float:
    """The share of samples whose interval holds the mean."""
    samples = draw(np.random.default_rng(n), (4000 if n < 500 else 1500, n))
    low, high = bootstrap(samples, how)
    return float(((low <= mean) & (mean <= high)).mean())


@pytest.mark.parametrize("name", ["normal", "beta", "spike", "spearman", "topk"])
@pytest.mark.parametrize("n", [10, 32, 64, 500])
def test_intervals_over_images_cover_the_mean(n: int, name: str, real: dict[str, Floats]) -> None:
    found = coverage(*population(name, real), n, "percentile")
    # Ten images of a strongly skewed population rarely show its tail: no interval around them knows of it.
    assert (0.92 if (n, name) == (10, "spearman") else 0.93) <= found <= 0.97


@pytest.mark.parametrize("name", ["normal", "beta", "spike", "spearman", "topk"])
@pytest.mark.parametrize("n", [10, 64, 500])
def test_bca_covers_the_mean_from_64_images_on(n: int, name: str, real: dict[str, Floats]) -> None:
    found = coverage(*population(name, real), n, "bca")
    if n == 10:
        # What the docstring warns of; where this fails, BCa has become better than it says.
        assert 0.87 <= found < 0.93
    else:
        assert 0.93 <= found <= 0.97


@pytest.mark.parametrize("n", [10, 32, 64, 500])
def test_wilsons_interval_covers_a_proportion_on_average_over_proportions(n: int) -> None:
    bounds = np.array([wilson(hits, n) for hits in range(n + 1)])
    p = np.linspace(0.0005, 0.9995, 1000)[:, None]
    inside = (bounds[:, 0] <= p) & (p <= bounds[:, 1])
    # Exact: the chance of every count, summed over those whose interval holds p.
    assert 0.93 <= float((scipy.stats.binom.pmf(np.arange(n + 1), n, p) * inside).sum(axis=1).mean()) <= 0.97


@pytest.mark.parametrize("count", [2, 3, 5])
def test_intervals_over_seeds_cover_the_mean(count: int) -> None:
    rng = np.random.default_rng(count)
    found = [over_seeds(list(means)).interval for means in rng.normal(0.8, 0.02, (4000, count))]
    assert 0.94 <= np.mean([low <= 0.8 <= high for low, high in found]) <= 0.96


def told_apart(table: list[Column]) -> bool:
    """Whether any two rows of a table differ in rank."""
    return any(rank != 1 for ranks in compare(table) for rank in ranks)


def alike(rng: np.random.Generator, rows: int, columns: int, n: int) -> list[Column]:
    """Methods that are the same one: images are hard for all, and a row's skewed columns go together."""
    image, own = rng.normal(0, 1, n), rng.normal(0, 1, (rows, 1, n))
    scores = np.exp(0.6 * own + 0.8 * rng.normal(0, 1, (rows, columns, n))) + image
    return [Column(rows=list(scores[:, c]), higher_is_better=c % 2 == 0) for c in range(columns)]


@pytest.mark.parametrize(
    ("rows", "columns", "tables"), [(2, 1, 3000), (2, 4, 1500), (5, 1, 1000), (5, 4, 600), (10, 1, 600), (10, 4, 300)]
)
def test_tables_of_methods_that_are_alike_rarely_tell_any_apart(rows: int, columns: int, tables: int) -> None:
    rng = np.random.default_rng(rows)
    wrong = np.mean([told_apart(alike(rng, rows, columns, 20)) for _ in range(tables)])
    # And often enough that it is a test: 5 % is what it is allowed.
    assert 0.02 <= wrong <= 0.06


def trained(rng: np.random.Generator, shift: Floats, seeds: int, columns: int = 1) -> list[Column]:
    """Methods that differ by ``shift``, each trained with some seeds; a seed's luck goes through all of its images."""
    image, luck = rng.normal(0, 1, 20), rng.normal(0, 0.1, (len(shift), 1, seeds, 1))
    noise = rng.normal(0, 0.3, (len(shift), columns, seeds, 20))
    scores = image + shift[:, None, None, None] + luck + noise
    return [Column(rows=list(scores[:, c]), higher_is_better=True) for c in range(columns)]


@pytest.mark.parametrize(("seeds", "rows", "columns", "tables"), [(2, 2, 1, 1000), (5, 2, 1, 2000), (3, 5, 4, 300)])
def test_the_luck_of_seeds_is_not_taken_for_a_difference(seeds: int, rows: int, columns: int, tables: int) -> None:
    rng = np.random.default_rng(seeds)
    found = [trained(rng, np.zeros(rows), seeds, columns) for _ in range(tables)]
    assert np.mean([told_apart(table) for table in found]) <= 0.06
    # Images alone would be sure of it far more often.
    averaged = [
        [Column(rows=[row.mean(axis=0) for row in column.rows if row is not None], higher_is_better=True)]
        for table in found
        for column in table[:1]
    ]
    assert np.mean([told_apart(table) for table in averaged]) > 0.12


def test_a_real_difference_is_found_in_a_table_of_others() -> None:
    rng = np.random.default_rng(20)
    found = []
    for _ in range(200):
        image = rng.normal(0, 1, 64)
        rows = image + rng.normal(0, 0.3, (5, 4, 64))
        # 0.6 of the spread of paired differences, and a quarter of that of images, which separate means drown in.
        rows[0, 0] += 0.6 * np.sqrt(2) * 0.3
        ranks = compare([Column(rows=list(rows[:, c]), higher_is_better=True) for c in range(4)])
        found.append(ranks[0][0] == 1 and 1 not in ranks[0][1:])
    assert np.mean(found) > 0.8


@pytest.mark.parametrize(("seeds", "shift"), [(3, 0.5), (5, 0.3)])
def test_a_real_difference_over_seeds_is_found(seeds: int, shift: float) -> None:
    """Of five times the luck of a seed where there are three of them, and of three times where there are five."""
    rng = np.random.default_rng(21)
    found = [compare(trained(rng, np.array([0.0, shift]), seeds)) for _ in range(300)]
    assert np.mean([ranks == [[2, 1]] for ranks in found]) > 0.8
