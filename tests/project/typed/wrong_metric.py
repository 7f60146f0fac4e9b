"""Mistakes in metrics, each on a line that says so."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust import Case, Quality, RetrainingContext, RetrainingMetric, Similarity, register_metric, register_model


@register_metric("wrong-similarity")
@dataclass(frozen=True, kw_only=True)
class WrongSimilarity(Similarity):
    higher_is_better: ClassVar[bool] = "yes"  # error
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0, 2.0)  # error

    def compare(self, a: Tensor) -> Tensor:  # error
        return a


@register_metric("wrong-quality")
@dataclass(frozen=True, kw_only=True)
class WrongQuality(Quality):
    scope: ClassVar[str] = "map"  # error

    def judge(self, case: Case) -> float:  # error
        return case.attacked_maps  # error


@register_model("wrong-axis")  # error: pyright
@dataclass(frozen=True, kw_only=True)
class WrongRetraining(RetrainingMetric):  # error: mypy
    @property
    def trainings(self) -> str:  # error
        return "1"

    def evaluate(self, context: RetrainingContext) -> Tensor:
        return context.images["validation"]  # error


@register_metric("no-judge")
@dataclass(frozen=True, kw_only=True)
class NoJudge(Quality):
    higher_is_better: ClassVar[bool] = True

    def judges(self, case: Case) -> Tensor:
        return case.explain(case.clean)  # error


NoJudge()  # error
WrongSimilarity(maps="rgb")  # error
