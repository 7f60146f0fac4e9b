"""Mistakes in a method, each on a line that says so."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust import Batch, Card, Method, register_attack, register_method


@register_method("wrong")
@dataclass(frozen=True, kw_only=True)
class Wrong(Method):
    amount: float = "much"  # error

    card: ClassVar[Card] = "a title"  # error

    def prepare(self, model: nn.Module) -> Tensor:  # error
        return torch.zeros(1)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:  # error
        return x.mean()

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        yield self.loss(model, batch.image, batch.y)  # error


@register_method("wrong-return")
@dataclass(frozen=True, kw_only=True)
class WrongReturn(Method):
    @property
    def start(self) -> int:  # error
        return 1

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> float:  # error
        return 0.0


@register_attack("wrong-axis")  # error: pyright
@dataclass(frozen=True, kw_only=True)
class WrongAxis(Method):  # error: mypy
    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return x.mean()


@register_method("no-loss")
@dataclass(frozen=True, kw_only=True)
class NoLoss(Method):
    pass


@register_method("no-method")  # error: pyright
class NoMethod:  # error: mypy
    pass


@register_method(1)  # error
@dataclass(frozen=True, kw_only=True)
class WrongName(WrongAxis):
    pass


NoLoss()  # error
WrongAxis(amount=1)  # error
