"""Mistakes in an explainer, each on a line that says so."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust import Explainer, differentiable, load, memory_budget, reduce_map, register_explainer, register_metric


@register_explainer("wrong")
@dataclass(frozen=True, kw_only=True)
class Wrong(Explainer):
    stochastic: ClassVar[bool] = "yes"  # error

    @property
    def differentiable(self) -> str:  # error
        return "yes"

    def attribute(self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool) -> Tensor:  # error
        return x


@register_metric("wrong-axis")  # error: pyright
@dataclass(frozen=True, kw_only=True)
class WrongReturn(Explainer):  # error: mypy
    def attribute(  # error
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> None:
        return None


@register_explainer("no-attribute")
@dataclass(frozen=True, kw_only=True)
class NoAttribute(Explainer):
    def explain(self, model: nn.Module, x: Tensor) -> Tensor:
        return x


class Gradients:
    def attribute(self, inputs: Tensor, target: int) -> Tensor:
        return inputs * target


images = torch.rand(2, 1, 28, 28)
NoAttribute()  # error
Wrong()(load("digits/natural"), images)  # error
differentiable(Gradients()).attribute(images, "three")  # error
differentiable(images)  # error
load(3)  # error
reduce_map(images, "abs")  # error
memory_budget("2 GB")  # error
