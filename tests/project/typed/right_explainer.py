"""Explainers with and without a derivative, and what a notebook does with Captum's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust import (
    CaptumExplainer,
    Differentiable,
    Explainer,
    UnderivedExplainer,
    differentiable,
    load,
    memory_budget,
    reduce_map,
    register_explainer,
)


@register_explainer("right")
@dataclass(frozen=True, kw_only=True)
class Right(Explainer):
    power: float = 1.0

    stochastic: ClassVar[bool] = True
    varies_within_region: ClassVar[bool] = True

    @property
    def differentiable(self) -> bool:
        return self.power > 0

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        if not create_graph:
            x = x.detach().requires_grad_()
        score = model(x).gather(1, target.view(-1, 1)).sum()
        (gradient,) = torch.autograd.grad(score, x, create_graph=create_graph)
        return gradient * torch.rand(x.shape[1:], generator=generator) ** self.power


@register_explainer("right-underived")
@dataclass(frozen=True, kw_only=True)
class Underived(UnderivedExplainer):
    ignores_image: ClassVar[bool] = True

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        return torch.ones_like(x)


class Gradients:
    def attribute(self, inputs: Tensor, target: int, *, absolute: bool = False) -> Tensor:
        return inputs.abs() if absolute else inputs * target


model: nn.Module = load("digits/natural")
images = torch.rand(2, 1, 28, 28)
with memory_budget(2**30):
    maps: Tensor = reduce_map(Right(power=2.0)(model, images, torch.tensor([3, 5])), "abs-sum")
wrapped = differentiable(Gradients())
graph: Tensor = wrapped.attribute(images, 3, absolute=True)


def run(explainer: CaptumExplainer[Callable[..., Tensor]]) -> Differentiable[Callable[..., Tensor]]:
    return differentiable(explainer)
