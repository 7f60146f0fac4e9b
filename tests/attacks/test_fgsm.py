"""One step along a map's gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.attacks.base import Context
from attrobust.attacks.fgsm import Fgsm
from attrobust.attacks.noise import Noise
from attrobust.attacks.objectives.scores import topk
from attrobust.explainers.guided import Deconvolution
from attrobust.explainers.saliency import Saliency
from attrobust.threat import ThreatModel
from attrobust.types import Amount

ContextMaker = Callable[..., Context]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_step_is_that_of_steepest_descent_of_the_mass_on_the_top_k(
    norm: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = 0.3 + 0.4 * real_images[0][:4]
    threat = ThreatModel(norm=norm, eps=0.05, keep_prediction=False)  # type: ignore[arg-type]
    context = make_context(load("digits/aga"), Saliency(), x, threat=threat)
    y = context.predict(x)
    attack = Fgsm(differentiate="own")
    attached = x.clone().requires_grad_()
    mass = attack.objective(context, x, y)(context.maps(attached, y, create_graph=True))
    (gradient,) = torch.autograd.grad(mass.sum(), attached)
    unit = gradient.sign() if norm == "linf" else gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(attack(context, x, y).x, x - 0.05 * unit, rtol=0, atol=1e-6)


def test_it_costs_one_gradient_and_one_map_beside_the_clean_ones(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:3] for part in real_images)
    threat = ThreatModel(eps=16 / 255, keep_prediction=False)
    passes = Fgsm(beta=10.0, pool=5.0)(make_context(load("digits/natural"), Saliency(), x, threat=threat), x, y).passes
    clean, gradient, scored, prediction = 1, 1, 1, 1
    assert passes.forward == len(x) * (clean + gradient + scored + prediction)
    assert passes.backward == len(x) * (clean + 2 * gradient + scored)
    assert passes.double_backward == len(x) * gradient


def test_one_step_takes_more_pixels_from_the_top_than_ten_draws_of_noise(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0]
    for explainer, surrogate in ((Saliency(), None), (Deconvolution(), Saliency())):
        context = make_context(network, explainer, x, surrogate=surrogate)
        y = context.predict(x)
        clean = context.maps(x, y)
        intersection = topk(clean, Fgsm().k.of(clean[0].numel()))
        stepped, noisy = (intersection(context.maps(attack(context, x, y).x, y)) for attack in (Fgsm(), Noise()))
        assert stepped.mean() < noisy.mean()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="restarts=2 must be 1: fgsm starts at the clean image"):
        Fgsm(restarts=2)
    with pytest.raises(ValueError, match="every pixel"):
        Fgsm(k=Amount(64, percent=False)).check_size(8, 8)
