"""A metric of every kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust import (
    Amount,
    Case,
    CaseMetric,
    Metric,
    Quality,
    RetrainingContext,
    RetrainingMetric,
    Scope,
    Similarity,
    SpatialSimilarity,
    SplitName,
    register_metric,
)


@register_metric("right-similarity")
@dataclass(frozen=True, kw_only=True)
class Near(Similarity):
    k: Amount = Amount.parse("10%")

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"paper": {"k": "100"}}

    @property
    def title(self) -> str:
        return f"near {self.k}"

    @property
    def without_effect(self) -> frozenset[str]:
        return frozenset()

    def check_size(self, height: int, width: int) -> None:
        self.k.of(height * width)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=1).exp().reciprocal()


@register_metric("right-spatial")
@dataclass(frozen=True, kw_only=True)
class Place(SpatialSimilarity):
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 100.0)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.flatten(1).argmax(dim=1) - b.flatten(1).argmax(dim=1)).abs().double()


@register_metric("right-quality")
@dataclass(frozen=True, kw_only=True)
class Sparse(Quality):
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scope: ClassVar[Scope] = "map"
    needs_masks: ClassVar[bool] = True

    def judge(self, case: Case) -> Tensor:
        noise = case.streams("noise").normal(case.clean)
        again = case.reduce(case.explain(case.clean + noise, case.target))
        inside = again if case.masks is None else again * case.masks
        logits: Tensor = case.model(case.attacked)
        return (inside - case.clean_maps).flatten(1).amax(dim=1).clamp(0, 1) + 0 * logits.sum()


@register_metric("right-retrained")
@dataclass(frozen=True, kw_only=True)
class Retrained(RetrainingMetric):
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @property
    def trainings(self) -> int:
        return 1

    def evaluate(self, context: RetrainingContext) -> Tensor:
        changed: dict[SplitName, Tensor] = {
            name: images * context.maps(name).unsqueeze(1).sign() for name, images in context.images.items()
        }
        return context.retrain(changed, context.seed).double().unsqueeze(0) + 0 * context.mean.sum()


metrics: list[Metric] = [Near(), Place(), Sparse(), Retrained()]
of_images: list[CaseMetric] = [Near(k=Amount.parse("5")), Place(), Sparse()]
score: Tensor = Near(maps="abs-sum")(torch.rand(1, 2, 2), torch.rand(1, 2, 2))
