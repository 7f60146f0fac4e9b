"""Insertion: how soon the pixels that a map ranks first bring the decision back, before and after an attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Scope
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.curve import Curve


@register("insertion")
@dataclass(frozen=True, kw_only=True)
class Insertion(Curve):
    """Area under ``p_c`` while pixels of the image are put into the fill colour in order of its map (arXiv 1806.07421).

    Order, ties and area are those of ``Curve``. A constant map puts nothing in before the end, which makes it last.

    RelEx's preservation (arXiv 2103.14332), which takes pixels away from the last, is the same curve read backwards.
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
    """Insertion of the clean image's pixels in order of the attacked image's map (arXiv 2211.15900).

    Low where an attack has moved the map away from what the decision rests on; where the map did not move, it is the
    insertion of the clean map.
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
