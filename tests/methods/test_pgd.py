"""The inner maximisation of adversarial training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.methods.pgd_at import PgdAt
from attrobust.threat import ThreatModel


@pytest.mark.parametrize(("norm", "eps"), [("linf", 16 / 255), ("l2", 1.0)])
def test_the_inner_steps_stay_in_the_ball_and_raise_the_loss_above_noise(
    norm: str, eps: float, real_images: tuple[Tensor, Tensor]
) -> None:
    x, y = real_images
    model: nn.Module = load("digits/natural")
    seen: list[Tensor] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    method = PgdAt(eps=eps, norm=norm, steps=10)  # type: ignore[arg-type]
    loss = float(method.loss(model, x, y, torch.Generator().manual_seed(0)).detach())
    handle.remove()
    ball = ThreatModel(norm=norm, eps=eps)  # type: ignore[arg-type]
    assert len(seen) == 11
    assert all(ball.contains(x, image).all() for image in seen)
    noisy = float(F.cross_entropy(model(seen[0]), y).detach())
    assert loss > noisy + 0.1
