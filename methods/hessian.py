"""Penalty on the Hessian of the explained logit: Dombrowski et al., Pattern Recognition 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.draws import gaussian
from attrobust.methods.losses.gradients import true_logit_gradient
from attrobust.methods.softplus import Softplus
from attrobust.naming.checks import not_negative
from attrobust.networks.smoothed import input_scale, spell_out
from attrobust.types import Card, Cost


@register("hessian")
@dataclass(frozen=True, kw_only=True)
class Hessian(Softplus):
    """Penalty on the squared Frobenius norm of the true logit's input Hessian, by one Gaussian probe per image.

    ``E ||H v||² = ||H||_F²`` for v ~ N(0, I). As in the AGA paper's baseline, H is taken in normalised input units.

    Attributes:
        lam: weight of the penalty; the AGA paper uses 1e-3 for LeNet and 1e-4 for ResNet-18 on CIFAR-10.
        beta: softplus inverse temperature.
    """

    lam: float = 1e-3

    card: ClassVar[Card] = Card(
        title="Towards robust explanations for deep neural networks",
        authors="Dombrowski et al.",
        year=2022,
        arxiv="2012.10425",
        equation="L = CE(f(x), y) + lam mean ||H v||_2^2, v ~ N(0, I), H = hess f_y",
        settings={
            "cifar10/lenet": {"lam": "1e-3"},
            "cifar10/resnet18": {"lam": "1e-4"},
            "imagenet100/resnet18-imagenet": {"lam": "1e-3"},
        },
        note="Settings are those of the AGA paper's baseline, with the Hessian in normalised units. Whether Dombrowski "
        "et al. penalise the true or the predicted class, and the norm or its square, could not be checked.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")

    def prepare(self, model: nn.Module) -> nn.Module:
        """Softplus activations, and batch normalisation with third derivatives, as the penalty's gradient needs."""
        return spell_out(super().prepare(model))

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=1, backward=3, double_backward=2)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus the penalty; a scalar."""
        x = x.detach().requires_grad_()
        logits = model(x)
        gradient = true_logit_gradient(model, logits, x, y, create_graph=True)
        probe = gaussian(x, generator)
        (product,) = torch.autograd.grad((gradient * probe).sum(), x, create_graph=True)
        curvature = (product * input_scale(model)).flatten(1).square().sum(dim=1)
        return F.cross_entropy(logits, y) + self.lam * curvature.mean()
