"""Similarity of the attacked map to the map of the target image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality, Similarity
from attrobust.metrics.shared.case import Case
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.pearson import Pearson
from attrobust.metrics.similarity.spearman import Spearman
from attrobust.metrics.similarity.ssim import SSIM
from attrobust.types import Scope


@register("target-similarity")
@dataclass(frozen=True, kw_only=True)
class TargetSimilarity(Quality):
    """Similarity of the attacked image's map to the map of its partner, an image of another class.

    The partner's map is the target of the attack ``target``; the partner is explained for its predicted class, and maps
    are those of the protocol. It corresponds to TAPS of AGA's pair of scores (arXiv 2211.15900), whose official target
    is a frame; SAPS corresponds to the similarities themselves. Under attacks without this target it is a baseline. NaN
    where the similarity is undefined.

    Attributes:
        by: the similarity, with its default settings; the reference of ``ssim`` is the partner's map.
    """

    by: Literal["pearson", "cosine", "spearman", "ssim"] = "pearson"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    scope: ClassVar[Scope] = "attack"

    @property
    def title(self) -> str:
        """E.g. ``similarity to target (pearson)``."""
        return f"similarity to target ({self.by})"

    @property
    def _similarity(self) -> Similarity:
        kinds: dict[str, type[Similarity]] = {
            "pearson": Pearson,
            "cosine": Cosine,
            "spearman": Spearman,
            "ssim": SSIM,
        }
        return kinds[self.by]()

    def check_size(self, height: int, width: int) -> None:
        """See ``Metric.check_size``."""
        self._similarity.check_size(height, width)

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        return self._similarity(case.reduce(case.partner_attributions), case.attacked_maps)
