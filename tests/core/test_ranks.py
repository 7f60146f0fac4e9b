"""Orders, ranks, largest values and what is made of them are those of slow and plain code, whatever the values are."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from attrobust.maps import similarity
from attrobust.maps.ranks import order_and_runs, sorted_ranks, top_mask

from helpers.order import tau_b


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].shape[1] > 1])
def test_tau_is_the_agreement_of_all_pairs(kind: str) -> None:
    a = KINDS[kind]
    for b in (a.roll(1, 0), drawn(4, 300).to(a), (2 * drawn(4, 300)).round().to(a)):
        wanted = [tau_b(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
        assert similarity.kendall(a, b).tolist() == pytest.approx(wanted, abs=1e-12, nan_ok=True)
