"""A method that overrides every hook."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attrobust import Batch, Card, Cost, Method, Normalize, register_method, softplus_model


@register_method("right")
@dataclass(frozen=True, kw_only=True)
class Right(Method):
    amount: float = 0.1

    card: ClassVar[Card] = Card(title="A title", year=2024, settings={"digits": {"amount": "0.2"}})

    @property
    def batch_statistics(self) -> int:
        return 2

    @property
    def start(self) -> str:
        return "natural"

    @property
    def without_effect(self) -> frozenset[str]:
        return frozenset({"amount"})

    def cost(self, classes: int) -> Cost | None:
        return Cost(forward=1, backward=classes) + Cost(double_backward=1)

    def check_images(self, *, channels: int, size: int, classes: int, gaze: bool) -> None:
        if not gaze:
            raise ValueError("no gaze")

    def prepare(self, model: nn.Module) -> nn.Module:
        return nn.Sequential(Normalize((0.5,), (0.5,)), softplus_model(model, 3.0))

    def decays(self, name: str) -> bool:
        return name.endswith("weight")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(x.shape, generator=generator)
        return cross_entropy(model(x + self.amount * noise), y)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        yield self.loss(model, batch.x, batch.y, batch.generator)
        if batch.start is not None and batch.gaze is not None:
            yield batch.progress * batch.gaze.mean()


right: Right = Right(amount=0.2)
