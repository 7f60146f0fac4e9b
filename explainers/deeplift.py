"""DeepLift, and its average over references: Shrikumar et al. 2017, Lundberg and Lee 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from captum.attr import DeepLift as CaptumDeepLift
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import Explainer, check_grey
from attrobust.explainers.shared.chunks import accumulate
from attrobust.explainers.shared.from_captum import CaptumExplainer


@register("deeplift")
@dataclass(frozen=True, kw_only=True)
class DeepLift(CaptumExplainer):
    """DeepLift's contributions to ``f_c(x) - f_c(x0)`` by the Rescale rule, from a flat grey x0 (arXiv 1704.02685).

    The contributions of all pixels sum to the difference of the logits. Where values tie in a window of max-pooling, as
    in flat areas of an image, the map has no derivative.

    Attributes:
        baseline: grey level of x0 in pixel units; 0 is black.
    """

    varies_within_region: ClassVar[bool] = True

    baseline: float = 0.0

    def __post_init__(self) -> None:
        check_grey("baseline", self.baseline)

    def captum(self, model: nn.Module, image: Tensor) -> Any:
        """See ``CaptumExplainer.captum``."""
        return CaptumDeepLift(model)

    def arguments(self, x: Tensor) -> dict[str, Any]:
        """The reference image."""
        return {"baselines": torch.full_like(x[:1], self.baseline)}


@register("deeplift-shap")
@dataclass(frozen=True, kw_only=True)
class DeepLiftShap(Explainer):
    """Mean of DeepLift over references, which approximates Shapley values (Lundberg and Lee 2017, arXiv 1705.07874).

    Explainers are not given background images, so the references are flat images with grey levels evenly spaced from
    black to white.

    Attributes:
        references: number of references.
    """

    varies_within_region: ClassVar[bool] = True

    references: int = 5

    def __post_init__(self) -> None:
        if self.references < 2:
            raise ValueError(f"references={self.references} must be at least 2; deeplift has one")

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits."""
        levels = torch.linspace(0, 1, self.references).tolist()

        def part(images: Tensor, rows: slice, span: slice, graph: bool) -> Tensor:
            maps = [
                DeepLift(baseline=level).attribute(model, images, target[rows], create_graph=graph, generator=generator)
                for level in levels[span]
            ]
            return torch.stack(maps).sum(dim=0)

        return accumulate(part, model, x, self.references, create_graph=create_graph) / self.references
