"""The ball and the box, on real images and on adversarial numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attrobust.threat import ThreatModel

NORMS = ["linf", "l2"]


@pytest.mark.parametrize("norm", NORMS)
@given(
    seed=st.integers(0, 10_000), eps=st.sampled_from([0.0, 1 / 255, 0.1, 1.0]), scale=st.sampled_from([1e-4, 1.0, 1e4])
)
@settings(max_examples=60)
def test_a_projection_lies_in_ball_and_box_and_is_idempotent(norm: str, seed: int, eps: float, scale: float) -> None:
    threat = ThreatModel(norm=norm, eps=eps)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(3, 2, 5, 5, generator=generator).round(decimals=1)
    moved = threat.project(x0, x0 + scale * torch.randn(x0.shape, generator=generator))
    assert threat.contains(x0, moved).all()
    assert torch.allclose(threat.project(x0, moved), moved, atol=1e-6)
    assert torch.equal(threat.project(x0, x0), x0)
    assert threat.contains(x0, threat.scatter(x0, 2 * torch.rand(x0.shape, generator=generator) - 1)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_what_lies_outside_is_seen(norm: str, real_images: tuple[Tensor, Tensor]) -> None:
    x = real_images[0]
    threat = ThreatModel(norm=norm, eps=0.1)  # type: ignore[arg-type]
    assert not threat.contains(x, x + 0.11).any()
    assert not threat.contains(x, torch.full_like(x, float("nan"))).any()
    black = torch.zeros_like(x)
    assert not threat.contains(black, black - 1e-3).any()


@pytest.mark.parametrize("norm", NORMS)
def test_the_edge_of_the_ball_is_sharper_than_the_smallest_attack(norm: str) -> None:
    """A grey image whose pixels all move alike, by a hundred-thousandth too much and too little."""
    threat, grey = ThreatModel(norm=norm, eps=0.1), torch.full((1, 1, 28, 28), 0.5, dtype=torch.float64)  # type: ignore[arg-type]
    change = threat.direction(torch.ones_like(grey))
    assert not threat.contains(grey, grey + (threat.eps + 1e-5) * change).any()
    assert threat.contains(grey, grey + (threat.eps - 1e-5) * change).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_direction_is_the_steepest_unit_step(norm: str) -> None:
    threat = ThreatModel(norm=norm, eps=0.1)  # type: ignore[arg-type]
    gradient = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    step = threat.direction(gradient)
    size = step.abs().amax() if norm == "linf" else step.flatten(1).norm(dim=1).amax()
    assert abs(float(size) - 1) < 1e-6
    gain = (step * gradient).sum(dim=(1, 2, 3))
    best = gradient.abs().sum(dim=(1, 2, 3)) if norm == "linf" else gradient.flatten(1).norm(dim=1)
    assert torch.allclose(gain, best)
    assert torch.equal(threat.direction(torch.full_like(gradient, float("nan"))), torch.zeros_like(gradient))


@pytest.mark.parametrize("eps", [0.5, 2.0, 20.0])
def test_the_l2_ball_holds_at_imagenet_size(eps: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = 0.5 + 0.1 * torch.rand(4, 3, 224, 224, generator=generator)
    threat = ThreatModel(norm="l2", eps=eps)
    moved = threat.scatter(x0, 2 * torch.rand(x0.shape, generator=generator) - 1)
    assert threat.contains(x0, moved).all()
    distance = (moved.double() - x0.double()).flatten(1).norm(dim=1)
    assert torch.allclose(distance, torch.full_like(distance, eps), atol=1e-6)
    assert str(threat) == f"l2 {eps:g}"
