"""A picture of the gallery: an image before and after an attack, its maps, and what they scored. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from attrobust.arrays import Floats
from attrobust.benchmark.gallery.picking import Image
from attrobust.benchmark.store.rows import MetricFacts

Origin = Literal["kept", "contest", "computed again", "computed"]
"""Of an attacked image: stored by the run, handed in by somebody, attacked again with the present code, or attacked by
an evaluation that is no run."""
ORIGINS: dict[Origin, str] = {
    "kept": "kept by the run",
    "contest": "handed in by a contest",
    "computed again": "run again from weights",
    "computed": "",
}
AGREES = 1e-4
"""How far a score of a picture may be from the stored one, absolute and relative; see ``docs/boards.md``."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric of a pictured pair of maps.

    Attributes:
        metric: what tables know of it.
        value: computed from the maps of the picture; NaN where undefined.
        stored: of this image, behind the number of the table.
        of_same_result: whether that is of the pictured result; each metric takes the worst of an attack's results.
    """

    metric: MetricFacts
    value: float
    stored: float
    of_same_result: bool = True

    @property
    def agrees(self) -> bool:
        """Whether both are the same, but for rounding."""
        return bool(np.isclose(self.value, self.stored, rtol=AGREES, atol=AGREES, equal_nan=True))

    @property
    def text(self) -> str:
        """As a table prints it, with its title; the stored value too where that is another one."""
        mine, other = self._printed(self.value), self._printed(self.stored)
        words = "stored" if self.of_same_result else "in the table, of another result"
        return f"{self.metric.title}: {mine}" + ("" if self.agrees else f" ({words}: {other})")

    def _printed(self, value: float) -> str:
        if not math.isfinite(value):
            return "undefined"
        return f"{value * self.metric.scale:.{self.metric.decimals}f}".replace("-", "−")


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A row of a gallery.

    Attributes:
        table: what tells its table from others of a sweep; empty where there is one.
        row: fingerprint of the row behind the first score.
        scores_sha256: of that row's per-image scores.
        method, explainer, attack: labels.
        dataset, threat: as tables name them.
        image: position in the list of images.
        chosen: the position or the rank that was asked for.
        images: how many the cell has.
        explained, true: names of classes.
        clean, attacked: pixels in [0, 1], C×H×W.
        clean_map, attacked_map: H×W, as they are scored.
        reduction: channels to map; ``sum`` has signs.
        scores: of the metric that ranks, then of the others; all of the pictured result.
        feasible: whether the attack obeyed the rules; where not, the clean image was scored.
        origin: of the attacked image.
    """

    table: str
    row: str
    scores_sha256: str
    method: str
    explainer: str
    attack: str
    dataset: str
    threat: str
    image: int
    chosen: Image
    images: int
    explained: str
    true: str
    clean: Floats
    attacked: Floats
    clean_map: Floats
    attacked_map: Floats
    reduction: str
    scores: tuple[Score, ...]
    feasible: bool
    origin: Origin

    @property
    def signed(self) -> bool:
        """Whether maps have signs."""
        return self.reduction == "sum"

    @property
    def chosen_words(self) -> str:
        """The image, and how it was chosen."""
        if isinstance(self.chosen, int):
            return f"image {self.image}"
        return f"image {self.image}, {self.chosen} of {self.images}"

    @property
    def remarks(self) -> list[str]:
        """What has to be known beside the scores."""
        found = [] if self.feasible else ["attack not feasible: the clean image was scored"]
        for name, values in (("clean", self.clean_map), ("attacked", self.attacked_map)):
            if values.size and np.ptp(values) == 0:
                found.append(f"{name} map is constant")
        if not self.scores[0].agrees:
            found.append("does not agree with the stored score")
        return found

    def chosen_as(self, image: Image) -> Picture:
        """The same picture, where the image was asked for otherwise."""
        return replace(self, chosen=image)
