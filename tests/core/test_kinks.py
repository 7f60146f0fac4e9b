"""Activations of straight pieces, smoothed: the same in the limit, and with a second derivative."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.differentiated import activation_displacements, smoothed_model
from attrobust.attacks.target import Target
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.networks.kinks import RAMPS, SmoothActivation
from attrobust.networks.smooth_calls import softplus_everywhere
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
    assert isinstance(smooth_activation_model(nn.Sequential(nn.Threshold(0.0, 0.0)), 1.0)[0], nn.Softplus)  # type: ignore[index]


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


@pytest.mark.parametrize("kink", [0.0, 6.0])
def test_relu6_is_smooth_at_both_kinks(kink: float) -> None:
    """The second derivative is a bump of height beta / 4 at each, which no step of x jumps over."""
    beta, spacing = 4.0, 1e-3
    x = torch.arange(kink - 2.5, kink + 2.5, spacing, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(SmoothActivation(nn.ReLU6(), beta)(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    sign = 1.0 if kink == 0 else -1.0
    assert float((sign * second).max()) == pytest.approx(beta / 4, rel=1e-5)
    assert float(x[(sign * second).argmax()].detach()) == pytest.approx(kink, abs=2 * spacing)
    # The third derivative of softplus is at most beta² / (6 √3).
    assert float(second.diff().abs().max()) <= 1.01 * beta**2 / (6 * 3**0.5) * spacing
    # A kink would make this a jump from 0 to 1 or back.
    assert float(slope.detach().diff().abs().max()) <= 1.01 * beta / 4 * spacing


@pytest.mark.parametrize("as_function", [False, True], ids=["module", "function"])
def test_attacks_differentiate_relu6_at_both_kinks(as_function: bool) -> None:
    """The temperature of the smoothed model is that of the displacement of what enters the activation."""

    class Saturating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Conv2d(1, 1, 1)
            nn.init.constant_(self.scale.weight, 9.0)
            nn.init.constant_(self.scale.bias, -1.5)
            self.activation = nn.Identity() if as_function else nn.ReLU6()

        def forward(self, x: Tensor) -> Tensor:
            x = self.scale(x)
            return (F.relu6(x) if as_function else self.activation(x)).flatten(1)

    network, threat = Saturating().double().eval().requires_grad_(False), ThreatModel(eps=8 / 255)
    x = torch.linspace(0, 1, 64, dtype=torch.float64).view(1, 1, 8, 8).requires_grad_()
    displacements = activation_displacements(network, threat, x.shape[1:], x.detach())
    # Of noise in the ball, whose root mean square is eps / √3 where no pixel leaves [0, 1].
    (displacement,) = displacements.values()
    assert displacement == pytest.approx(9 * threat.eps / 3**0.5, rel=0.1)
    smoothed = smoothed_model(
        network, displacements, beta=None, pool=None, inverse_temperature=0.3, functions=int(as_function)
    ).network
    (slope,) = torch.autograd.grad(smoothed(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    beta, z = 0.3 / displacement, 9 * x.detach() - 1.5
    bumps = [81 * beta * torch.sigmoid(beta * (z - kink)) * torch.sigmoid(-beta * (z - kink)) for kink in (0.0, 6.0)]
    torch.testing.assert_close(second, bumps[0] - bumps[1])
    assert second.max() > 0 > second.min()


@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.LeakyReLU(0.1), nn.Hardswish()], ids=lambda m: type(m).__name__)
def test_papers_that_have_softplus_for_relu_have_sums_of_it_for_its_like(
    activation: nn.Module, real_images: tuple[Tensor, Tensor]
) -> None:
    """The reference of ``target:variant=paper``, and what ``art`` trains on."""
    layers = [nn.Flatten(), nn.Linear(784, 12), activation, nn.Linear(12, 10)]
    network, x = nn.Sequential(*layers).eval().requires_grad_(False), real_images[0][:3]
    wanted = nn.Sequential(*layers[:2], SmoothActivation(activation, 10.0), layers[3])
    torch.testing.assert_close(softplus_everywhere(network, x, 10.0)(x), wanted(x), rtol=0, atol=0)
    y = network(x).argmax(dim=1)
    context = Context(
        model=network,
        explainer=Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=32 / 255),
        ids=range(3),
        partners=x.roll(1, 0),
    )
    assert not torch.equal(Target(variant="paper", steps=4, growth=2.0)(context, x, y).x, x)
