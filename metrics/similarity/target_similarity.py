"""How near an attack has come to the map it draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality, Scope, Similarity
from attrobust.metrics.shared.case import Case
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.pearson import Pearson
from attrobust.metrics.similarity.spearman import Spearman
from attrobust.metrics.similarity.ssim import SSIM


@register("target-similarity")
@dataclass(frozen=True, kw_only=True)
class TargetSimilarity(Quality):
    """Similarity of the attacked image's map to the map of its partner, an image of another class.

    The partner's is the map that attack ``target`` draws, the partner being explained for the class the network gives
    it; maps are those of the protocol. This is the target's side (TAPS) of AGA's pair of similarities (arXiv
    2211.15900), whose official target is a frame; its source's side (SAPS) are the similarities themselves. Under an
    attack that aims elsewhere it is what comes of not aiming, for comparison. NaN where the similarity is undefined.

    Attributes:
        by: similarity, with its default settings; ``ssim`` has the partner's map for its reference.
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
