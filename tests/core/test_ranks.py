"""Orders, ranks, largest values and inversions are those of slow and plain code, whatever the values are."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from attrobust.maps.ranks import ascending, order_and_runs, sorted_ranks, top_mask
from attrobust.metrics import registry
from attrobust.metrics.shared import rows
from attrobust.metrics.similarity import kendall
from attrobust.metrics.similarity.kendall import Kendall, inversions
from attrobust.metrics.similarity.pearson import Pearson


def drawn(count: int, size: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)


def last_digits(count: int, size: int) -> Tensor:
    """Values that differ in their last bits alone, in any order."""
    return 1 + torch.finfo(torch.float64).eps * (7 * drawn(count, size)).round()


KINDS = {
    "plain": drawn(4, 300),
    "float32": drawn(4, 300).float(),
    "tied": (3 * drawn(4, 300)).round(),
    "signed zeros": torch.where(drawn(4, 300) > 0, 0.0, -0.0),
    "a zero of either sign": torch.cat([drawn(4, 298), torch.tensor([[0.0, -0.0]] * 4, dtype=torch.float64)], dim=1),
    "last digits": last_digits(4, 300),
    "negative last digits": -last_digits(4, 300),
    "denormal": 5e-324 * (100 * drawn(4, 300)).round(),
    "largest": torch.finfo(torch.float64).max * drawn(4, 300).clamp(-1, 1),
    "infinite": torch.where(drawn(4, 300) > 1, torch.inf * drawn(4, 300), drawn(4, 300)),
    "some rows tied": torch.cat([drawn(2, 300), (3 * drawn(2, 300)).round()]),
    "one": drawn(4, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_sorts_and_says_where_values_change(kind: str) -> None:
    values = KINDS[kind]
    order, starts = order_and_runs(values)
    for row, found, new in zip(values.numpy(), order.numpy(), starts.tolist(), strict=True):
        assert sorted(found) == list(range(len(row)))
        assert (row[found] == np.sort(row)).all()
        assert new == [True, *(row[found][1:] != row[found][:-1])]


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_are_those_of_scipy(kind: str) -> None:
    assert (sorted_ranks(KINDS[kind]).numpy() == scipy.stats.rankdata(KINDS[kind].numpy(), axis=1)).all()


def test_what_is_no_number_is_ordered_last() -> None:
    values = drawn(2, 50)
    # Of either sign: what 0 / 0 gives has the other one.
    values[0, 3], values[0, 7] = torch.nan, -torch.tensor(torch.nan)
    order, _ = order_and_runs(values)
    assert sorted(order[0, -2:].tolist()) == [3, 7]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 30, 299, 300])
def test_the_largest_are_those_that_a_stable_sort_finds(kind: str, k: int) -> None:
    values = KINDS[kind]
    k = min(k, values.shape[1])
    order = np.argsort(-values.numpy(), axis=1, kind="stable")[:, :k]
    assert [row.nonzero().flatten().tolist() for row in top_mask(values, k)] == [sorted(row) for row in order.tolist()]


def test_what_is_no_number_is_largest_and_never_more_than_k() -> None:
    values = drawn(1, 50)
    values[0, 7] = torch.nan
    assert top_mask(values, 1).nonzero().tolist() == [[0, 7]]
    assert top_mask(torch.full((2, 9), torch.nan), 4).sum(dim=1).tolist() == [4, 4]


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 100, 1000, 4095, 4096, 4097, 9000])
def test_inversions_are_pairs_in_descending_order(size: int) -> None:
    orders = ascending(drawn(2, size))
    wanted = [sum(int((row[i] > row[i + 1 :]).sum()) for i in range(size)) for row in orders.numpy()]
    assert inversions(orders).tolist() == wanted
    back = torch.arange(size).flip(0)[None]
    assert inversions(back).tolist() == [size * (size - 1) // 2]
    assert inversions(back.flip(1)).tolist() == [0]


@pytest.mark.parametrize("table", [0, kendall.TABLE])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].shape[1] > 1])
def test_tau_is_that_of_scipy(kind: str, table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kendall, "TABLE", table)
    a = KINDS[kind]
    for b in (a.roll(1, 0), drawn(4, 300).to(a), (2 * drawn(4, 300)).round().to(a)):
        wanted = [scipy.stats.kendalltau(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
        assert Kendall().compare(a, b).tolist() == pytest.approx(wanted, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["cosine", "mass-center", "normalized-l2", "pearson"])
def test_maps_at_the_ends_of_the_floats_are_compared_like_others(name: str) -> None:
    a, b = ((100 * drawn(2, size)).round().view(-1, 12, 12) for size in (144, 288))
    b = b[:2]
    metric = registry.get(name)()
    for scale in (5e-324, 1e-154, 1e154, torch.finfo(torch.float64).max / 1024):
        assert torch.allclose(metric(scale * a, scale * b), metric(a, b), rtol=1e-12)


def test_images_computed_in_parts_are_all_there_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (drawn(7, size).view(7, 12, 12) for size in (144, 144))
    b = b.roll(1, 0) + a
    whole = Pearson()(a, b)
    for chunk in (1, 300, 10**6):
        monkeypatch.setattr(rows, "CHUNK", chunk)
        assert torch.equal(Pearson()(a, b), whole)


def test_values_are_finite_even_where_their_sum_is_not() -> None:
    huge = torch.full((2, 3), torch.finfo(torch.float64).max, dtype=torch.float64)
    huge[1, 1] = torch.inf
    assert rows.is_finite(huge).tolist() == [True, False]
    assert rows.is_finite(torch.tensor([[1.0, torch.nan], [torch.inf, -torch.inf]])).tolist() == [False, False]
