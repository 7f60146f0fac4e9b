"""What came of an evaluation: scores as tables, attacked images and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy import float64
from numpy.typing import NDArray
from pandas import DataFrame
from torch import Tensor

from attrobust.benchmark.gallery.draw import gallery
from attrobust.benchmark.gallery.picking import ranked
from attrobust.benchmark.notebook import shown
from attrobust.benchmark.notebook.pictures import pictures
from attrobust.benchmark.statistics import estimate
from attrobust.benchmark.store.rows import MetricFacts
from attrobust.maps.reduction import Reduction
from attrobust.networks.passes import Passes
from attrobust.threat import ThreatModel
from attrobust.types import Flag


@dataclass(frozen=True, kw_only=True, eq=False)
class Maps:
    """Maps of the images, as they are scored.

    Attributes:
        clean, attacked: B×H×W, in float64 where the device has it.
    """

    clean: Tensor
    attacked: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A metric with its scores.

    Attributes:
        facts: what tables know of the metric.
        values: one for each image, before they are multiplied by the ``scale`` of the metric; NaN where undefined.
        by: the member of an ensemble that each is from, empty where none improved on the clean image; empty where the
            attack is no ensemble.
    """

    facts: MetricFacts
    values: NDArray[float64]
    by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluation:
    """The result of ``attrobust.evaluate``.

    Attributes:
        name: of the network.
        explainer, attack: with their settings.
        threat: what the attacker may do.
        reduction: of the channels of an attribution to a map.
        x: the images, B×C×H×W.
        y: their true classes, int64[B]; None where they are not known.
        explained: the classes whose logits are explained, int64[B].
        prediction, attacked_prediction: classes that the network predicts, int64[B].
        attacked: the attacked images, B×C×H×W, each feasible; of an ensemble's results the worst by the first
            similarity that was asked for, by cosine where none was.
        maps: of ``x`` and ``attacked``.
        scores: of every metric, in the order asked. Where an attack has several results, each metric takes the worst.
        feasible: bool[B]: whether the attack obeyed the rules; where not, the clean image was scored.
        passes: images that the attack sent through the network.
        flags: reasons not to trust the numbers.
        notes: what was adapted, and what is strange, in words.
    """

    name: str
    explainer: str
    attack: str
    threat: ThreatModel
    reduction: Reduction
    x: Tensor
    y: Tensor | None
    explained: Tensor
    prediction: Tensor
    attacked_prediction: Tensor
    attacked: Tensor
    maps: Maps
    scores: tuple[Scored, ...]
    feasible: Tensor
    passes: Passes
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def titles(self) -> list[str]:
        """The headers of the metrics' columns, as tables of runs have them, e.g. ``top-10% (%)``."""
        titles = [scored.facts.title for scored in self.scores]
        labels = [scored.facts.label for scored in self.scores]
        return [label if titles.count(title) > 1 else title for title, label in zip(titles, labels, strict=True)]

    @property
    def accuracy(self) -> float | None:
        """Share of the images that are classified correctly; None where the true classes are not known."""
        return None if self.y is None else float((self.prediction == self.y).double().mean())

    @property
    def frame(self) -> DataFrame:
        """A line for every image.

        Columns: ``image``, its position in ``x``; ``label``, the true class, missing where it is not known;
        ``prediction``, ``explained`` and ``attacked_prediction``, classes; ``feasible``; ``change``, the largest change
        of a pixel; and every metric by its title, in the units of the title, with ``… by`` for the member of an
        ensemble that the score is from.
        """
        labels = [pd.NA] * len(self) if self.y is None else self.y.tolist()
        change = (self.attacked.double() - self.x.double()).abs().flatten(1).amax(dim=1)
        columns = {
            "image": np.arange(len(self)),
            "label": pd.array(labels, dtype="Int64"),
            "prediction": self.prediction.numpy(),
            "explained": self.explained.numpy(),
            "attacked_prediction": self.attacked_prediction.numpy(),
            "feasible": self.feasible.numpy(),
            "change": change.numpy(),
        }
        for title, scored in zip(self.titles, self.scores, strict=True):
            columns[title] = scored.values * scored.facts.scale
            if scored.by:
                columns[f"{title} by"] = np.array(scored.by, dtype=object)
        return DataFrame(columns)

    def summary(self) -> DataFrame:
        """A line for every metric, in the units of its title.

        Columns: ``mean`` over the images for which the score is defined, with ``low`` and ``high``, the ends of its
        95 % interval over images; ``median``; ``worst``, the score of the worst image, and ``worst_image``, its
        position;
        ``defined``, the number of images with a score. Undefined where there are none.
        """
        lines = []
        for scored in self.scores:
            values, facts = scored.values[np.isfinite(scored.values)] * scored.facts.scale, scored.facts
            mean = estimate(scored.values, unit=facts.unit)
            worst = ranked(scored.values, "worst", higher=facts.higher_is_better)
            lines.append(
                {
                    "mean": mean.mean * facts.scale,
                    "low": mean.low * facts.scale,
                    "high": mean.high * facts.scale,
                    "median": float(np.median(values)) if len(values) else float("nan"),
                    "worst": float("nan") if worst is None else float(scored.values[worst]) * facts.scale,
                    "worst_image": pd.NA if worst is None else worst,
                    "defined": mean.defined,
                }
            )
        frame = DataFrame(lines, index=pd.Index(self.titles, name="metric"))
        return frame.astype({"worst_image": "Int64", "defined": "int64"})

    def plot(
        self,
        images: int | Literal["worst", "median"] | Sequence[int | Literal["worst", "median"]] = ("worst", "median"),
    ) -> Figure:
        """Images before and after the attack, their difference, both maps, and the scores.

        Args:
            images: positions, and ``"worst"`` and ``"median"`` by the first metric.

        Raises:
            UsageError: there is no such image.
        """
        return gallery(pictures(self, [images] if isinstance(images, int | str) else images), by="method")

    def __repr__(self) -> str:
        return shown.text(self)

    def _repr_html_(self) -> str:
        return shown.html(self)
