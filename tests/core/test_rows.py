"""Formulas of maps hold up to the ends of the floats, for values and for gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attrobust.maps import rows, similarity
from attrobust.maps.center import mass_center
from attrobust.maps.ssim import ssim


def apart(a: Tensor, b: Tensor) -> Tensor:
    centers = (mass_center(maps.unflatten(1, (12, 12))) for maps in (a, b))
    return torch.stack(list(centers)).diff(dim=0)[0].norm(dim=1)


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": similarity.cosine,
    "pearson": similarity.pearson,
    "normalized-l2": similarity.normalized_l2,
    "normalized-l2 by sum": lambda a, b: similarity.normalized_l2(a, b, "sum"),
    "normalized-l2 by max": lambda a, b: similarity.normalized_l2(a, b, "max"),
    "mass-center": apart,
}


def drawn(seed: int, dtype: torch.dtype) -> Tensor:
    """Whole numbers, which keep all digits when they are multiples of the smallest float."""
    generator = torch.Generator().manual_seed(seed)
    return (100 * torch.randn(2, 144, generator=generator, dtype=torch.float64)).round().to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_maps_at_the_ends_of_the_floats_are_compared_like_others(name: str, dtype: torch.dtype) -> None:
    a, b = drawn(1, dtype), drawn(2, dtype)
    limits, formula = torch.finfo(dtype), FORMULAS[name]
    for scale in (limits.smallest_normal * limits.eps, limits.tiny**0.5, limits.max**0.5, limits.max / 1024):
        assert torch.allclose(formula(scale * a, scale * b), formula(a, b), rtol=100 * limits.eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_of_maps_whose_squares_leave_the_floats_are_those_of_others(name: str, dtype: torch.dtype) -> None:
    a, b = drawn(1, dtype), drawn(2, dtype)

    def gradient(scale: float) -> Tensor:
        attached = (scale * b).requires_grad_()
        (found,) = torch.autograd.grad(FORMULAS[name](scale * a, attached).sum(), attached)
        return scale * found

    limits, wanted = torch.finfo(dtype), gradient(1.0)
    for scale in (limits.tiny**0.7, limits.max**0.7):
        assert (gradient(scale) - wanted).norm() < 100 * limits.eps * wanted.norm()


@pytest.mark.parametrize("formula", [similarity.cosine, similarity.pearson, similarity.normalized_l2, ssim])
def test_a_map_against_itself_has_a_finite_gradient(formula: Callable[[Tensor, Tensor], Tensor]) -> None:
    a = drawn(1, torch.float32)
    a = a.unflatten(1, (12, 12)) if formula is ssim else a
    (gradient,) = torch.autograd.grad(formula(a, attached := a.clone().requires_grad_()).sum(), attached)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("value", [0.1, -3.0, 1e300])
def test_a_constant_row_less_its_mean_is_zero_to_the_last_bit(value: float) -> None:
    assert (rows.centred(torch.full((1, 7), value, dtype=torch.float64)) == 0).all()


def test_values_are_finite_even_where_their_sum_is_not() -> None:
    huge = torch.full((2, 3), torch.finfo(torch.float64).max, dtype=torch.float64)
    huge[1, 1] = torch.inf
    assert rows.is_finite(huge).tolist() == [True, False]
    assert rows.is_finite(torch.tensor([[1.0, torch.nan], [torch.inf, -torch.inf]])).tolist() == [False, False]
