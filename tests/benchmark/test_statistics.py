"""Intervals, spreads, tests and ranks, against scipy and brute force."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from attrobust.benchmark.report.beaten import beaten
from attrobust.benchmark.statistics import Column, compare, estimate, intervals, over_seeds, shares, spread
from attrobust.benchmark.statistics.signflip import BITS, EXACT, PATTERNS, _sums, sign_flip
from attrobust.benchmark.store.store import Floats

ROOT = Path(__file__).parents[2]


def test_the_interval_is_the_percentile_bootstrap_of_scipy_with_the_tails_of_hesterberg() -> None:
    rng = np.random.default_rng(0)
    # For n = 12, t(0.975, 11) = 2.2010, so the tails are Φ(−√(12/11) · 2.2010).
    tail = 100 * scipy.stats.norm.cdf(-2.2989)
    low, high, wider = [], [], []
    for _ in range(30):
        values = rng.beta(2, 1, 12)
        ours = estimate(values)
        theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=rng)
        bounds = np.percentile(theirs.bootstrap_distribution, [tail, 100 - tail])
        width, plain = bounds[1] - bounds[0], theirs.confidence_interval
        assert ours.mean == values.mean()
        low.append((ours.low - bounds[0]) / width)
        high.append((ours.high - bounds[1]) / width)
        wider.append((ours.high - ours.low) / (plain.high - plain.low))
    # Of one sample, 2,000 resamples know these quantiles to 2 % of the width.
    assert np.abs([low, high]).max() < 0.08
    assert np.abs(np.mean([low, high], axis=1)).max() < 0.015
    assert np.mean(wider) == pytest.approx(2.2989 / 1.96, rel=0.03)


@pytest.mark.parametrize("n", [10, 40, 200])
def test_bca_is_that_of_scipy_on_the_same_resamples(n: int) -> None:
    values = np.random.default_rng(n).exponential(1, n)
    ours = estimate(values, how="bca")
    drawn = SimpleNamespace(bootstrap_distribution=intervals._resampled_means(values))
    theirs = scipy.stats.bootstrap((values,), np.mean, method="BCa", n_resamples=0, bootstrap_result=drawn)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), rel=1e-12)
    fresh = scipy.stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9999, rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(tuple(fresh), abs=0.1 * (fresh.high - fresh.low))


@pytest.mark.parametrize("how", ["percentile", "bca"])
@pytest.mark.parametrize("value", [0.7, 1e-200, 1e200, -3.0, 1.2056978104822327])
@pytest.mark.parametrize("n", [2, 7, 20, 100])
def test_where_all_scores_are_equal_the_interval_is_that_score(how: intervals.How, value: float, n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimate(np.full(n, value), how=how)
    assert (found.mean, found.low, found.high) == pytest.approx((value, value, value), rel=1e-12)


@pytest.mark.parametrize("how", ["percentile", "bca"])
def test_one_outlier_keeps_the_interval_finite_and_the_mean_inside(how: intervals.How) -> None:
    for n in (2, 3, 100):
        found = estimate(np.array([*[0.5] * (n - 1), 1e9]), how=how)
        assert found.low <= found.mean <= found.high <= 1e9


@pytest.mark.parametrize("how", ["percentile", "bca"])
def test_one_image_has_a_mean_and_no_interval(how: intervals.How) -> None:
    found = estimate(np.array([np.nan, 0.4]), how=how)
    assert (found.mean, found.n, found.defined) == (0.4, 2, 1)
    assert np.isnan([found.low, found.high]).all()


def test_undefined_scores_are_left_out_and_counted() -> None:
    found = estimate(np.array([0.5, np.nan, 0.7, np.inf]))
    assert (found.n, found.defined) == (4, 2)
    assert found.mean == pytest.approx(0.6)
    nothing = estimate(np.array([np.nan, np.nan]))
    assert nothing.defined == 0
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


@pytest.mark.parametrize("how", ["percentile", "bca"])
def test_large_lists_are_resampled_in_blocks_with_the_same_result_as_normal_theory(how: intervals.How) -> None:
    values = np.random.default_rng(2).normal(3, 1, 20_000)
    found = estimate(values, how=how)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_scores_of_zero_and_one_have_wilsons_interval() -> None:
    perfect = estimate(np.ones(300), unit=True)
    assert perfect.mean == perfect.high == 1.0
    assert perfect.low == pytest.approx(300 / (300 + 1.959964**2), abs=1e-6)
    unlike = np.array([0.0, 1.0] * 10)
    assert estimate(unlike, unit=True).high == pytest.approx(
        scipy.stats.binomtest(10, 20).proportion_ci(method="wilson").high
    )


@pytest.mark.parametrize("how", ["percentile", "bca"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_score_that_could_leave_zero_to_one_is_no_proportion(how: intervals.How, value: float) -> None:
    found = estimate(np.full(64, value), how)
    assert (found.low, found.high) == (value, value)


def test_the_spread_over_seeds_is_the_standard_error_with_one_degree_of_freedom_less() -> None:
    found = over_seeds([0.3, np.nan, 0.4, 0.8])
    assert found.count == 3
    assert found.mean == pytest.approx(0.5)
    assert found.error == pytest.approx(scipy.stats.sem([0.3, 0.4, 0.8]))
    expected = scipy.stats.ttest_1samp([0.3, 0.4, 0.8], 0).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high))


def test_one_seed_has_a_mean_and_no_spread() -> None:
    found = over_seeds([0.3, np.inf])
    assert (found.mean, found.count) == (0.3, 1)
    assert np.isnan([found.error, *found.interval]).all()
    nothing = over_seeds([])
    assert nothing.count == 0
    assert np.isnan([nothing.mean, nothing.error, *nothing.interval]).all()


def test_the_worst_image_and_the_tail_are_on_the_side_that_is_worse() -> None:
    scores = np.concatenate([[np.nan], np.linspace(0, 1, 101)[::-1], [np.inf]])
    up, down = spread(scores, higher_is_better=True), spread(scores, higher_is_better=False)
    assert (up.worst, up.image, down.worst, down.image) == (0.0, 101, 1.0, 1)
    assert (up.tail, up.median, up.best) == pytest.approx((0.05, 0.5, 0.95))
    assert (down.tail, down.median, down.best) == pytest.approx((0.95, 0.5, 0.05))
    nothing = spread(np.full(3, np.nan), higher_is_better=True)
    assert nothing.image is None
    assert np.isnan([nothing.worst, nothing.tail, nothing.median, nothing.best]).all()


def test_the_shares_of_members_are_of_all_images() -> None:
    assert shares(np.array([0, 1, 1, -1]), ["a", "b"]) == {"a": 0.25, "b": 0.5}


def scipys(differences: Floats, resamples: float = np.inf) -> float:
    """The same test by scipy, which swaps the members of each pair."""
    sample = (differences, np.zeros_like(differences))
    found = scipy.stats.permutation_test(
        sample,
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=0,
    )
    return float(found.pvalue)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_few_differences_are_tested_exactly(n: int) -> None:
    rng = np.random.default_rng(n)
    # In tenths, so that sums tie and rounding could tell them apart.
    tied = rng.integers(-3, 5, (6, n)) / 10
    smooth = rng.normal(0.5, 1, (6, n)) * 10.0 ** np.arange(-9, 3, 2)[:, None]
    for differences in (tied, smooth):
        assert sign_flip(differences) == pytest.approx([scipys(row) for row in differences], abs=1e-12)


@pytest.mark.parametrize("n", [EXACT + 1, 40, 120])
def test_many_differences_are_tested_with_a_group_of_patterns_up_to_its_noise(n: int) -> None:
    rng = np.random.default_rng(n)
    differences = rng.exponential(1, (8, n)) - 1 + np.linspace(0, 3, 8)[:, None] / np.sqrt(n)
    wanted = np.array([scipys(row, 20_000) for row in differences])
    noise = 4 * np.sqrt(wanted * (1 - wanted) * (1 / PATTERNS + 1 / 20_000)) + 2e-4
    assert (np.abs(sign_flip(differences) - wanted) <= noise).all()


def test_no_p_value_is_zero_since_the_patterns_hold_the_one_that_was_seen() -> None:
    assert sign_flip(np.ones((1, 50))) == [1 / PATTERNS]


@pytest.mark.parametrize("n", [20, 300, PATTERNS + 100])
def test_the_patterns_are_a_group_of_different_ones_that_a_walsh_hadamard_transform_sums_up(n: int) -> None:
    images = np.unique(np.linspace(0, n - 1, 20).astype(int))
    single = np.zeros((len(images), n))
    single[np.arange(len(images)), images] = 1.0
    signs = _sums(single)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert (signs[:, 0] == 1.0).all(), "one flips nothing"
    words = 2 ** np.arange(len(images)) @ (signs < 0)
    patterns = set(words.tolist())
    assert n > 20 or len(patterns) == PATTERNS, "the first images have all patterns"
    rng = np.random.default_rng(n)
    assert all(int(a ^ b) in patterns for a, b in rng.choice(words, (2000, 2)))
    assert np.allclose(signs @ signs.T, PATTERNS * np.eye(len(images))), "no two images flip together"
    weights = rng.normal(0, 1, len(images))
    assert _sums((weights @ single)[None])[0] == pytest.approx(weights @ signs)


def test_if_all_patterns_are_as_likely_a_p_value_below_five_percent_has_that_chance() -> None:
    rng = np.random.default_rng(5)
    differences = rng.exponential(1, 30)
    signs = _sums(np.eye(30)).T
    p = sign_flip(differences * signs)
    for level in (0.01, 0.05, 0.3):
        assert level - 4 / PATTERNS < (p <= level).mean() <= level


def test_images_beyond_the_number_of_codes_are_flipped_too() -> None:
    n = 3 * PATTERNS
    differences = np.random.default_rng(6).normal(0.008, 1, (20, n))
    wanted = scipy.stats.ttest_1samp(differences, 0, axis=1).pvalue
    noise = 4 * np.sqrt(wanted * (1 - wanted) / PATTERNS) + 1e-3
    # The codes repeat, so that the sums are those of fewer, larger differences.
    assert (np.abs(sign_flip(differences) - wanted) <= noise + 0.05 * wanted).all()
    assert BITS < 15


def test_a_large_list_in_blocks_agrees_with_the_t_test() -> None:
    differences = np.random.default_rng(7).normal(0.02, 1, (1, 8000))
    wanted = scipy.stats.ttest_1samp(differences[0], 0).pvalue
    assert sign_flip(differences)[0] == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("n", [8, 30])
def test_undefined_differences_are_dropped_for_their_pair_alone(n: int) -> None:
    full = np.random.default_rng(8).normal(0.3, 1, (2, n))
    holes = full.copy()
    holes[0, [1, 4]] = np.nan, np.inf
    found = sign_flip(holes)
    assert found[1] == sign_flip(full)[1]
    wanted = scipys(full[0, np.isfinite(holes[0])], PATTERNS if n == 30 else np.inf)
    assert found[0] == pytest.approx(wanted, abs=0.02 if n == 30 else 1e-12)
    assert sign_flip(np.full((1, n), np.nan)) == [1.0]
    assert sign_flip(np.zeros((1, n))) == [1.0]


def test_a_p_value_does_not_depend_on_what_else_is_tested() -> None:
    differences = np.random.default_rng(9).normal(0.2, 1, (300, 40))
    together = sign_flip(differences)
    assert all(sign_flip(differences[k : k + 1])[0] == together[k] for k in (0, 150, 299))


def by_hand(columns: list[Column]) -> list[list[int]]:
    """Ranks of rows with one seed, all of them ranked: pair by pair with scipy, and the step-up rule as a loop."""
    p = {
        (c, i, j): scipys(column.rows[i] - column.rows[j])  # type: ignore[operator]
        for c, column in enumerate(columns)
        for i, j in itertools.combinations(range(len(column.rows)), 2)
    }
    limit = max((v for k, v in enumerate(sorted(p.values()), 1) if v <= 0.05 * k / len(p)), default=-1.0)
    ranks = [[1] * len(column.rows) for column in columns]
    for (c, i, j), value in p.items():
        if value <= limit + 1e-12:
            first, second = (float(np.mean(columns[c].rows[k])) for k in (i, j))  # type: ignore[arg-type]
            ranks[c][j if (first > second) == columns[c].higher_is_better else i] += 1
    return ranks


def test_ranks_are_those_of_tests_made_one_by_one_and_a_step_up_over_the_whole_table() -> None:
    different = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shift = rng.choice([0.0, 0.5, 1.0], (3, 4, 1))
        scores = rng.normal(0, 1, (3, 1, 10)) + shift + 0.5 * rng.normal(0, 1, (3, 4, 10))
        columns = [Column(rows=list(rows), higher_is_better=c != 1) for c, rows in enumerate(scores)]
        assert compare(columns) == by_hand(columns)
        different |= {tuple(sorted(ranks)) for ranks in by_hand(columns)}
    # Ties that do not carry over (first and second, second and third, but not first and third) are among them.
    assert {(1, 1, 1, 1), (1, 1, 2, 3), (1, 1, 3, 3), (1, 2, 3, 4)} & different
    assert len(different) > 4


def test_what_is_told_apart_alone_may_not_be_in_a_table_of_many() -> None:
    rng = np.random.default_rng(10)
    a = rng.normal(0, 1, 60)
    pair = Column(rows=[a, a + 0.3 + rng.normal(0, 1, 60)], higher_is_better=True)
    noise = [Column(rows=list(rng.normal(0, 1, (4, 60))), higher_is_better=True) for _ in range(8)]
    assert compare([pair]) == [[2, 1]]
    assert compare([pair, *noise])[0] == [1, 1]


def test_pairing_sees_differences_that_separate_intervals_hide() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(0, 1, 100)
    b = a + rng.normal(0.05, 0.02, 100)
    assert estimate(a).high > estimate(b).low
    assert compare([Column(rows=[a, b], higher_is_better=True)]) == [[2, 1]]
    assert compare([Column(rows=[a, b], higher_is_better=False)]) == [[1, 2]]


def test_rows_that_cannot_be_ranked_have_no_rank_and_take_none_from_others() -> None:
    good, bad = np.linspace(0.8, 1, 20), np.linspace(0, 0.2, 20)
    patchy = np.where(np.arange(20) < 10, np.nan, good)
    mostly_undefined = np.where(np.arange(20) < 11, np.inf, 5.0)
    column = Column(rows=[bad, None, good, mostly_undefined, patchy], higher_is_better=True)
    assert compare([column]) == [[3, None, 1, None, 1]]


def test_a_column_with_one_row_or_too_few_shared_images_is_not_ranked() -> None:
    rows = [np.arange(8.0), np.arange(8.0) + 5]
    holes = [
        np.where(np.isin(np.arange(8), lost), np.nan, row) for row, lost in zip(rows, ([0, 1], [6, 7]), strict=True)
    ]
    few = Column(rows=holes, higher_is_better=True)
    single = Column(rows=[rows[0], None], higher_is_better=True)
    nothing = Column(rows=[], higher_is_better=True)
    empty = Column(rows=[np.zeros(0), np.zeros(0)], higher_is_better=True)
    full = Column(rows=rows, higher_is_better=True)
    assert compare([few, single, nothing, empty, full]) == [[None, None], [None, None], [], [None, None], [2, 1]]
    assert compare([]) == []


def test_rows_are_ranked_on_the_images_that_all_of_them_share() -> None:
    rng = np.random.default_rng(11)
    a = rng.normal(0, 0.1, 40)
    hard = np.where(np.arange(40) < 10, -5.0, 0.0)
    # Without the hard images b would look better than a, which has them; on those both have, a is better.
    b = np.where(hard < 0, np.nan, a - 0.2)
    assert compare([Column(rows=[a + hard, b], higher_is_better=True)]) == [[1, 2]]


def test_a_row_that_is_better_on_the_shared_images_alone_is_not_told_apart() -> None:
    rng = np.random.default_rng(17)
    half = np.arange(40) < 20
    a = rng.normal(0, 0.1, 40)
    b = a + np.where(half, 2.0, -0.1)
    assert compare([Column(rows=[a, b], higher_is_better=True)]) == [[2, 1]]
    # A third row lacks the half on which b is better, and both are better than it.
    c = np.where(half, np.nan, a - 5)
    assert compare([Column(rows=[a, b, c], higher_is_better=True)]) == [[1, 1, 3]]


def test_columns_of_different_lengths_are_compared_in_one_table() -> None:
    rng = np.random.default_rng(12)
    short, long = rng.normal(0, 0.1, (2, 15)), rng.normal(0, 0.1, (2, 50))
    columns = [Column(rows=[x[0], x[1] + 1], higher_is_better=True) for x in (short, long)]
    assert compare(columns) == [[2, 1], [2, 1]]


def seeded(rng: np.random.Generator, means: list[float], n: int = 60) -> Floats:
    """Scores S×N of seeds with these means on images that they share."""
    return np.linspace(-1, 1, n) + np.array(means)[:, None] + rng.normal(0, 0.01, (len(means), n))


def test_a_difference_must_hold_over_seeds_as_well() -> None:
    rng = np.random.default_rng(13)
    a, b = seeded(rng, [0.0, 0.5, 0.1]), seeded(rng, [0.6, 0.2, 0.1])
    assert compare([Column(rows=[a.mean(axis=0), b.mean(axis=0)], higher_is_better=True)]) == [[2, 1]]
    assert compare([Column(rows=[a, b], higher_is_better=True)]) == [[1, 1]]
    assert compare([Column(rows=[a, b + 2], higher_is_better=True)]) == [[2, 1]]
    # A row with one seed has nothing to say about seeds.
    assert compare([Column(rows=[a, b[:1]], higher_is_better=True)]) == [[2, 1]]


@pytest.mark.parametrize("gap", [0.12, 0.18, 0.24, 0.3, 0.45, 0.6])
def test_seeds_are_compared_as_welch_does(gap: float) -> None:
    rng = np.random.default_rng(14)
    # Of so many images that only the seeds matter, and of unequal variances and counts, in which tests differ.
    a, b = seeded(rng, [0.0, 0.02, 0.04, 0.01, 0.03]), seeded(rng, [gap, gap + 0.2, gap + 0.1])
    p = scipy.stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False).pvalue
    assert compare([Column(rows=[a, b], higher_is_better=True)]) == [[2, 1] if p <= 0.05 else [1, 1]]


def test_a_difference_must_hold_over_images_as_well() -> None:
    rng = np.random.default_rng(15)
    image = rng.normal(0, 1, 30)
    a = image + np.array([[0.0], [0.001], [0.002]])
    b = rng.permutation(image) + 0.1 + np.array([[0.0], [0.001], [0.002]])
    assert scipy.stats.ttest_ind(a.mean(axis=1), b.mean(axis=1)).pvalue < 1e-6
    assert compare([Column(rows=[a, b], higher_is_better=True)]) == [[1, 1]]


def test_seeds_that_change_nothing_leave_the_images_to_decide() -> None:
    a = np.tile(np.linspace(0, 1, 20), (3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compare([Column(rows=[a, a, a + 0.5], higher_is_better=True)]) == [[2, 2, 1]]


def test_an_image_counts_where_every_seed_is_defined() -> None:
    rng = np.random.default_rng(16)
    a, b = seeded(rng, [0.0, 0.01, 0.02]), seeded(rng, [0.5, 0.51, 0.52])
    b[1, :31] = np.nan
    assert compare([Column(rows=[a, b], higher_is_better=True)]) == [[None, None]]
    b[1, :31] = -99.0
    b[0, :30], b[1, 30] = np.nan, 0.0
    # Where one seed is undefined, what others score there does not count: b is the better one on the rest.
    assert compare([Column(rows=[a, b], higher_is_better=True)]) == [[2, 1]]


def test_statistics_need_no_torch() -> None:
    code = "import sys, attrobust.benchmark.statistics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(("attack", "higher", "raised"), [(0.4, True, False), (0.6, True, True), (0.4, False, True)])
def test_noise_that_beats_an_attack_raises_a_flag(attack: float, higher: bool, raised: bool) -> None:
    flag = beaten(np.full(5, attack), np.full(5, 0.5), "noise", higher_is_better=higher)
    assert (flag is not None) == raised
    if flag:
        assert f"{attack:.4f}" in flag.reason
