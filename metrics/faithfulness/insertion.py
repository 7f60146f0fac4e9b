"""Insertion: how fast the class probability rises as the map's most important pixels are inserted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.curve import Curve
from attrobust.types import Scope


@register("insertion")
@dataclass(frozen=True, kw_only=True)
class Insertion(Curve):
    """Area under the class probability as the most important pixels are inserted first (arXiv 1806.07421).

    Pixels of the image replace the fill colour in the order of its map. Order, ties and area are those of ``Curve``.
    With a constant map no pixel is inserted before the end, which gives the worst score. RelEx's preservation (arXiv
    2103.14332), which removes the least important pixels first, is the same curve in reverse.
    """

    higher_is_better: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "aga": {"steps": "20", "fill": "mean", "area": "mean"},
        "relex": {"steps": "224", "fill": "mean", "area": "trapezoid"},
        "rise": {"steps": "224", "fill": "blur", "area": "trapezoid"},
    }

    @property
    def title(self) -> str:
        """E.g. ``insertion AUC (mean)``."""
        return f"insertion AUC ({self.fill})"

    def ends(self, images: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Curve.ends``."""
        return filled, images


@register("adversarial-insertion")
@dataclass(frozen=True, kw_only=True)
class AdversarialInsertion(Insertion):
    """Insertion of the clean image's pixels in the order of the attacked image's map (arXiv 2211.15900).

    It is low where an attack has moved the map away from the pixels that the prediction depends on, and equals the
    insertion of the clean map where the map did not change.
    """

    scope: ClassVar[Scope] = "attack"
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"aga": Insertion.presets["aga"]}

    @property
    def title(self) -> str:
        """E.g. ``adv. insertion AUC (mean)``."""
        return f"adv. {super().title}"

    def ranking(self, case: Case) -> Tensor:
        """See ``Curve.ranking``."""
        return case.attacked_maps
