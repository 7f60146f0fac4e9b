"""An attack that overrides every hook and looks at all it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust import (
    Attack,
    AttackOutput,
    Context,
    Explain,
    ImageStreams,
    Observer,
    Passes,
    Results,
    ThreatModel,
    register_attack,
)


@register_attack("right")
@dataclass(frozen=True, kw_only=True)
class Right(Attack):
    steps: int = 3

    on_prediction: ClassVar[bool] = False

    @property
    def batch_dependent(self) -> bool:
        return True

    @property
    def follows_gradient(self) -> bool:
        return True

    @property
    def source_model(self) -> str:
        return "natural"

    def check_size(self, height: int, width: int) -> None:
        if height != width:
            raise ValueError("square maps only")

    def check_threat(self, threat: ThreatModel) -> None:
        if threat.norm == "l2":
            raise ValueError(f"not within {threat.eps:g}")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        streams: ImageStreams = context.streams("start")
        noise = context.threat.scatter(x, streams.uniform(x))
        explainer: Explain = context.explainer if context.surrogate is None else context.surrogate
        network: nn.Module = context.model if context.source_model is None else context.source_model
        moved = explainer(network, noise, y, create_graph=False)
        watch: Observer | None = context.observer
        if watch is not None:
            watch(context, noise, context.reduce(moved), context.predict(noise) == y)
        ids: Sequence[int] = context.ids
        return context.threat.project(x, noise + context.threat.direction(moved) * len(ids) * context.partners)

    def results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        return Results(images=[self.run(context, x, y), x], members=("right", "clean"), sources=torch.zeros(2, len(x)))


def count(output: AttackOutput) -> int:
    passes: Passes = output.passes
    return passes.forward + passes.backward + int(output.feasible.sum()) + len(output.others) + len(output.members)
