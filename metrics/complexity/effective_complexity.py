"""Effective complexity, the number of pixels that a map marks: after Nguyen and Martínez 2020."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.types import Scope


@register("effective-complexity")
@dataclass(frozen=True, kw_only=True)
class EffectiveComplexity(Quality):
    """Number of pixels whose absolute value is above a share of the largest, ``#{k: |v_k| > threshold max|v|}``.

    This is the number that Quantus computes under the name. The paper (arXiv 2007.07584) defines another one: how many
    of the most important features must be known so that the expected loss is below a tolerance. A constant map marks
    every pixel, which is the worst score. NaN where the map is zero everywhere, which Quantus scores 0, the best; and
    where it is not finite.

    Attributes:
        threshold: share of the map's largest absolute value. At Quantus's 1e-5 nearly every pixel of a gradient counts.
    """

    threshold: float = 0.1

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    decimals: ClassVar[int] = 1
    scope: ClassVar[Scope] = "map"
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"quantus": {"threshold": "1e-5"}}

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"threshold={self.threshold:g} must be at least 0 and below 1, a share of the largest value"
            )

    @property
    def title(self) -> str:
        """E.g. ``pixels above 0.1 of the largest``."""
        return f"pixels above {self.threshold:g} of the largest"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        size = case.clean_maps.flatten(1).abs()
        largest = size.amax(dim=1, keepdim=True)
        marked = (size / largest > self.threshold).sum(dim=1).to(size)
        return marked.masked_fill(~((largest > 0) & largest.isfinite())[:, 0], float("nan"))
