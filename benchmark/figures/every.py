"""All figures of runs, by name, as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from pandas import DataFrame

from attrobust.benchmark.figures import choose
from attrobust.benchmark.figures.agreement import agreement
from attrobust.benchmark.figures.attacks import attacks
from attrobust.benchmark.figures.choose import NothingToDrawError
from attrobust.benchmark.figures.cost import cost
from attrobust.benchmark.figures.distributions import distributions
from attrobust.benchmark.figures.insertion_deletion import insertion_deletion
from attrobust.benchmark.figures.pareto import pareto
from attrobust.benchmark.figures.radii import radii
from attrobust.benchmark.figures.training_cost import with_training_passes
from attrobust.benchmark.report.frame import results, scores
from attrobust.naming.file_names import as_part, free_name
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

Needs = Literal["results", "scores", "cost"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a figure is made.

    Attributes:
        draw: makes it of a frame.
        needs: which frame.
        has_metric: whether it is of one metric, and there may be one for each.
        over_eps: whether it is of all tables that differ in eps only; others are of one table.
    """

    draw: Callable[..., Figure]
    needs: Needs = "results"
    has_metric: bool = True
    over_eps: bool = False


KINDS = {
    "pareto": Kind(draw=pareto),
    "eps": Kind(draw=radii, over_eps=True),
    "distributions": Kind(draw=distributions, needs="scores"),
    "attacks": Kind(draw=attacks),
    "agreement": Kind(draw=agreement, has_metric=False),
    "insertion-deletion": Kind(draw=insertion_deletion, has_metric=False),
    "cost": Kind(draw=cost, needs="cost"),
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure, or why there is none.

    Attributes:
        name: of its file, without a suffix.
        figure: None where there is nothing to draw.
        problem: what is missing; empty where there is a figure.
    """

    name: str
    figure: Figure | None
    problem: str = ""


def draw(
    runs: Sequence[Path], names: Sequence[str], metrics: Sequence[str] = (), subset: str = "all"
) -> Iterator[Drawn]:
    """The figures of runs one by one, of a sweep those of each table.

    Args:
        runs: folders, as in ``report``.
        names: of figures, among ``KINDS``.
        metrics: titles of those under attack to draw; the first of each table where there are none.
        subset: of the images.

    Raises:
        UsageError: the folders hold no finished runs, or no table of them has one of the metrics.
    """
    frames: dict[Needs, DataFrame] = {"results": results(*runs)}
    for metric in metrics:
        choose.metric_of(frames["results"], metric)
    used: set[str] = set()
    for name in names:
        kind = KINDS[name]
        if kind.needs not in frames:
            frames[kind.needs] = (
                scores(*runs) if kind.needs == "scores" else with_training_passes(frames["results"], *runs)
            )
        yield from _of_kind(name, kind, _tables(frames[kind.needs], kind), metrics, subset, used)


def _tables(frame: DataFrame, kind: Kind) -> Mapping[str, DataFrame]:
    """The parts of a frame that are a figure each, by what tells them apart."""
    where = choose.apart_from_eps(frame) if kind.over_eps else frame["table"].astype(str)
    return {str(name): frame[where == name] for name in dict.fromkeys(where)}


def _of_kind(
    name: str, kind: Kind, tables: Mapping[str, DataFrame], metrics: Sequence[str], subset: str, used: set[str]
) -> Iterator[Drawn]:
    for where, frame in tables.items():
        for metric in (metrics or [""]) if kind.has_metric else [""]:
            told = free_name("-".join(filter(None, [name, as_part(where), as_part(metric)])), used)
            options = {"metric": metric or None} if kind.has_metric else {}
            try:
                yield Drawn(name=told, figure=kind.draw(frame, subset=subset, **options))
            except NothingToDrawError as error:
                yield Drawn(name=told, figure=None, problem=str(error))


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError where a figure has no such name."""
    for name in names:
        if name not in KINDS:
            raise UsageError(f"--only: no figure {name!r}.{did_you_mean(name, KINDS)} There is {', '.join(KINDS)}")
