"""Activations of straight pieces, smoothed: the same in the limit, and with a second derivative."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.networks.kinks import RAMPS, SmoothActivation
from attrobust.networks.smoothed import PIECEWISE_LINEAR, smooth_activation_model
from attrobust.threat import ThreatModel

MADE = [
    nn.ReLU6(),
    nn.Hardtanh(-0.5, 2.0),
    nn.LeakyReLU(0.1),
    nn.RReLU(),
    nn.PReLU(3),
    nn.Hardsigmoid(),
    nn.Hardswish(),
]


@pytest.mark.parametrize("piecewise_linear", MADE, ids=lambda module: type(module).__name__)
def test_sharp_enough_it_is_the_activation_itself(piecewise_linear: nn.Module) -> None:
    x = torch.linspace(-8, 8, 4 * 3 * 50, dtype=torch.float64).view(4, 3, 50)
    piecewise_linear = piecewise_linear.double().eval()
    wanted = piecewise_linear(x)
    for beta in (10.0, 1e6):
        # Two ramps at most, each off by log(2) / beta, times x for hardswish.
        assert (SmoothActivation(piecewise_linear, beta)(x) - wanted).abs().max() <= 2 * 0.7 / beta * 8
    assert (SmoothActivation(piecewise_linear, 1.0)(x) - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("piecewise_linear", MADE, ids=lambda module: type(module).__name__)
def test_derivatives_of_both_orders_are_those_of_the_formula(piecewise_linear: nn.Module) -> None:
    x = torch.linspace(-4, 7, 18, dtype=torch.float64).view(1, 3, 6).requires_grad_()
    smooth = SmoothActivation(piecewise_linear.double().eval(), 3.0)
    assert torch.autograd.gradcheck(smooth, x)
    assert torch.autograd.gradgradcheck(smooth, x)


def test_everything_piecewise_linear_but_a_jump_is_covered() -> None:
    assert {*RAMPS, nn.ReLU} == {*PIECEWISE_LINEAR} - {nn.Threshold}
    with pytest.raises(ValueError, match="Threshold has no smooth counterpart; attack with differentiate=own"):
        smooth_activation_model(nn.Sequential(nn.Threshold(0.1, 20.0)), 1.0)


def test_activations_in_place_change_the_tensor_they_are_given() -> None:
    x = torch.linspace(-1, 8, 10)
    kept = x.clone()
    y = SmoothActivation(nn.ReLU6(inplace=True), 5.0)(x)
    assert y.data_ptr() == x.data_ptr()
    torch.testing.assert_close(y, F.softplus(kept, beta=5.0) - F.softplus(kept - 6, beta=5.0))


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.1), nn.ReLU6(inplace=True)])
def test_networks_of_such_activations_are_attacked_through_their_curvature(
    activation: nn.Module, real_images: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, stride=2), activation, nn.Conv2d(8, 8, 3, stride=2), activation, nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(288, 10)).eval()
    x = real_images[0][:4]
    y = network(x).argmax(dim=1)
    context = Context(
        model=network,
        explainer=Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=32 / 255),
        ids=range(4),
        partners=x.roll(1, 0),
    )
    clean = context.maps(x, y).flatten(1)
    moved = [
        context.maps(Direct(steps=15, differentiate=smoothed)(context, x, y).x, y).flatten(1)
        for smoothed in ("auto", "own")
    ]  # type: ignore[arg-type]
    auto, own = (F.cosine_similarity(clean, maps).mean() for maps in moved)
    assert auto < own
