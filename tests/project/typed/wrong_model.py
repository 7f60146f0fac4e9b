"""Mistakes in an architecture, each on a line that says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import nn

from attrobust import ImageFacts, ModelFamily, Normalization, register_dataset, register_model


@register_model("wrong")
@dataclass(frozen=True, kw_only=True)
class Wrong(ModelFamily):
    normalize: Normalization = "mean"  # error

    package: ClassVar[str] = ("timm",)  # error

    def network(self, facts: ImageFacts, width: int) -> nn.Module:  # error
        return nn.Linear(facts.pixels, width)  # error

    def suited_to(self, shapes: Mapping[str, int]) -> Self:  # error
        return self


@register_dataset("wrong-axis")  # error: pyright
@dataclass(frozen=True, kw_only=True)
class WrongReturn(ModelFamily):  # error: mypy
    def network(self, facts: ImageFacts) -> torch.Tensor:  # error
        return torch.zeros(facts.size)


@register_model("no-network")
@dataclass(frozen=True, kw_only=True)
class NoNetwork(ModelFamily):
    width: int = 8


NoNetwork()  # error
ImageFacts(channels=1, size=8, classes=2, mean=0.5, std=0.5)  # error
