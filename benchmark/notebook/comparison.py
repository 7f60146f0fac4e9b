"""``attrobust.compare``: networks on the same images, and which can be told apart."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from pandas import DataFrame
from torch import Tensor, nn

from attrobust.benchmark.gallery.draw import gallery
from attrobust.benchmark.notebook import shown
from attrobust.benchmark.notebook.evaluation import evaluate
from attrobust.benchmark.notebook.pictures import pictures
from attrobust.benchmark.notebook.result import Evaluation
from attrobust.benchmark.statistics import Column, estimate
from attrobust.benchmark.statistics import compare as ranks_of
from attrobust.types import UsageError, percent


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison:
    """The result of ``attrobust.compare``.

    Attributes:
        evaluations: of the networks, by name, in the order given.
    """

    evaluations: Mapping[str, Evaluation]

    def __getitem__(self, name: str) -> Evaluation:
        return self.evaluations[name]

    @property
    def frame(self) -> DataFrame:
        """The lines of ``Evaluation.frame`` of all networks, with the name of each in the column ``model``."""
        frames = [result.frame.assign(model=name) for name, result in self.evaluations.items()]
        whole = pd.concat(frames, ignore_index=True)
        return whole[["model", *(column for column in whole.columns if column != "model")]]

    @property
    def ranks(self) -> DataFrame:
        """The rank of every network by every metric; those of rank 1 are the best and what ties with it.

        See ``attrobust.benchmark.statistics.compare``: paired tests over images, corrected for all pairs and metrics.
        Missing where a score is undefined for more than half of the images, or there are fewer than 5 images.
        """
        return self._ranks.copy()

    @functools.cached_property
    def _ranks(self) -> DataFrame:
        results = list(self.evaluations.values())
        columns = [
            Column(
                rows=[result.scores[place].values for result in results],
                higher_is_better=results[0].scores[place].facts.higher_is_better,
            )
            for place in range(len(results[0].scores))
        ]
        found = dict(zip(results[0].titles, ranks_of(columns), strict=True))
        return DataFrame(found, index=pd.Index(list(self.evaluations), name="model")).astype("Int64")

    def summary(self) -> DataFrame:
        """A line for every network and metric: the columns of ``Evaluation.summary``, ``rank``, and ``accuracy``."""
        ranks = self.ranks
        frames = []
        for name, result in self.evaluations.items():
            accuracy = float("nan") if result.accuracy is None else result.accuracy
            frames.append(result.summary().assign(model=name, rank=ranks.loc[name].array, accuracy=accuracy))
        return pd.concat(frames).reset_index().set_index(["model", "metric"])

    def pairs(self) -> DataFrame:
        """A line for every metric and pair of networks, in the units of the metric's title.

        Columns: ``metric``; ``first`` and ``second``, names; ``difference``, the mean over images of the first less the
        second, where both are defined; ``low`` and ``high``, the ends of its 95 % interval over images, one pair looked
        at alone; ``images``, how many both are defined for. Which networks can be told apart, all pairs and metrics
        taken together, is what ``ranks`` says.
        """
        lines = []
        for one, other in itertools.combinations(self.evaluations.items(), 2):
            for title, a, b in zip(one[1].titles, one[1].scores, other[1].scores, strict=True):
                scale = a.facts.scale
                difference = estimate(a.values - b.values)
                lines.append(
                    {
                        "metric": title,
                        "first": one[0],
                        "second": other[0],
                        "difference": difference.mean * scale,
                        "low": difference.low * scale,
                        "high": difference.high * scale,
                        "images": difference.defined,
                    }
                )
        return DataFrame(lines)

    def plot(self, image: int = 0) -> Figure:
        """One image of every network: before and after the attack, difference, maps and scores.

        Args:
            image: its position.

        Raises:
            UsageError: there is no such image.
        """
        return gallery([pictures(result, [image])[0] for result in self.evaluations.values()], by="image")

    def __repr__(self) -> str:
        return "\n".join([self._heading, "", *shown.aligned(self._cells), "", *shown.wrapped(self._remarks)])

    def _repr_html_(self) -> str:
        return f"<p><b>{shown.escaped(self._heading)}</b></p>{shown.table(self._cells)}{shown.listed(self._remarks)}"

    @property
    def _heading(self) -> str:
        return shown.asked(next(iter(self.evaluations.values())))

    @property
    def _cells(self) -> list[list[str]]:
        results = list(self.evaluations.values())
        labelled = results[0].accuracy is not None
        arrows = [shown.ARROWS[scored.facts.higher_is_better] for scored in results[0].scores]
        titles = [f"{title} {arrow}" for title, arrow in zip(results[0].titles, arrows, strict=True)]
        cells = [["network", *(["accuracy"] if labelled else []), *titles]]
        for name, result in self.evaluations.items():
            ranks = self._ranks.loc[name]
            numbers = [
                f"{row[1]} {row[2]}".strip() + ("" if pd.isna(rank) else f" ({rank})")
                for row, rank in zip(shown.rows(result), ranks, strict=True)
            ]
            accuracy = [] if result.accuracy is None else [percent(result.accuracy)]
            cells.append([name, *accuracy, *numbers])
        return cells

    @property
    def _remarks(self) -> list[str]:
        lines = [
            "In brackets the 95 % interval over images, and the rank: networks that cannot be told apart share it."
        ]
        if self._ranks.isna().all(axis=None):
            lines = ["In brackets the 95 % interval over images. Too few images have scores for ranks."]
        for name, result in self.evaluations.items():
            lines += [f"{name}: {line}" for line in shown.remarks(result) if not line.startswith("accuracy ")]
        return lines


def compare(models: Mapping[str, nn.Module], x: Tensor, y: Any = None, **asked: Any) -> Comparison:
    """Evaluate several networks on the same images, see ``evaluate``, and say which can be told apart.

    Args:
        models: by name, two at least.
        x, y: images and true classes, see ``evaluate``.
        asked: further arguments of ``evaluate``, the same for all.

    Raises:
        UsageError: fewer than two networks, or see ``evaluate``.
        ValueError: see ``evaluate``.

    Example::

        attrobust.compare({"natural": natural, "robust": robust}, x, y, attack="auto", eps=4 / 255)
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        raise UsageError("compare takes two networks at least, by name: compare({'a': one, 'b': other}, x)")
    if not all(isinstance(name, str) for name in models):
        raise UsageError("names of networks are texts: compare({'a': one, 'b': other}, x)")
    found = {}
    for name, model in models.items():
        try:
            found[name] = evaluate(model, x, y, **{**asked, "name": name})
        except (UsageError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
    return Comparison(evaluations=found)
