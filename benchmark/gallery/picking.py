"""Which cells and images of runs are pictured: names, radii and positions as typed. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from attrobust.arrays import Floats
from attrobust.benchmark.boards.published import named
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.store.rows import MetricFacts
from attrobust.naming.lists import refuse_empty
from attrobust.naming.suggest import did_you_mean
from attrobust.numbers import parse_number
from attrobust.types import UsageError

Rank = Literal["worst", "median"]
Image = int | Rank
"""A position in the list of images from 0, or the worst or the median image of a cell by a metric."""
RANKS: tuple[Rank, ...] = get_args(Rank)
MOST = 1000
"""Images of a cell that may be named."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for; what is empty is chosen for each run.

    Attributes:
        methods: labels of rows, or names without settings; all rows but sanity-check baselines where empty.
        explainers: labels or names; the first of each run where empty.
        attacks: labels or names; the first of each run that is not noise where empty.
        eps: radii in pixel units; all where empty.
        images: positions and ranks.
        metric: label, name or title, by which the worst and the median image are found; the first where empty.
    """

    methods: str = ""
    explainers: str = ""
    attacks: str = ""
    eps: tuple[float, ...] = ()
    images: tuple[Image, ...]
    metric: str = ""


def images_of(text: str) -> tuple[Image, ...]:
    """Positions, ranges of them and ranks, e.g. ``0,5,10-12,worst,median``.

    Raises:
        UsageError: something else, or nothing.
    """
    found: dict[Image, None] = {}
    refuse_empty(text, "--images")
    for item in (part.strip() for part in text.split(",")):
        if item in RANKS:
            found[item] = None
        elif match := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", item):
            first, last = int(match[1]), int(match[2] or match[1])
            if not first <= last < first + MOST:
                raise UsageError(f"--images {item}: give a range of 1 to {MOST} images, the smaller position first")
            found |= dict.fromkeys(range(first, last + 1))
        else:
            hint = did_you_mean(item, RANKS)
            raise UsageError(f"--images: no {item!r}.{hint} Give positions from 0, ranges 0-4, worst or median")
    return tuple(found)


def radii_of(text: str) -> tuple[float, ...]:
    """Radii as typed, e.g. ``4/255,8/255``; raises UsageError for what is no number."""
    if not text:
        return ()
    refuse_empty(text, "--eps")
    try:
        return tuple(map(parse_number, text.split(",")))
    except ValueError as error:
        raise UsageError(f"--eps: {error}") from None


def picked(cells: Sequence[StoredCell], wanted: Wanted) -> list[StoredCell]:
    """The cells that are asked for, in the order of the tables.

    Args:
        cells: of all runs.
        wanted: what is asked for.

    Raises:
        UsageError: a name or a radius that none of them has, or an image that no cell has.
    """
    found = [cell for cell in cells if cell.explainer and cell.attack and cell.rows[0].metric.scope == "attack"]
    if not found:
        raise UsageError("no explanation was attacked in these runs; run the benchmark with --attacks")
    networks: Sequence[Callable[[StoredCell], str]] = (
        lambda cell: cell.subject.label,
        lambda cell: named(cell.subject),
    )
    keep = _named(found, wanted.methods, "method", networks)
    if keep is None:
        found = [cell for cell in found if not cell.subject.baseline] or found
    else:
        found = [cell for cell in found if keep & {label(cell) for label in networks}]
    found = _of_radii(found, wanted.eps)
    found = _of_axis(found, wanted.explainers, "explainer", lambda cell: cell.explainer, _first_explainer)
    found = _of_axis(found, wanted.attacks, "attack", lambda cell: cell.attack, _first_attack)
    most = max(cell.images for cell in found)
    for image in wanted.images:
        if not isinstance(image, str) and image >= most:
            raise UsageError(f"--images {image}: there are {most} images, 0 to {most - 1}")
    _check_metric(found, wanted.metric)
    return found


def _check_metric(cells: Sequence[StoredCell], typed: str) -> None:
    """Raise UsageError where no cell has the metric; one table of a sweep may lack what another one has."""
    for cell in cells[:-1]:
        with suppress(UsageError):
            metric_of(cell, typed)
            return
    metric_of(cells[-1], typed)


def _of_axis(
    cells: list[StoredCell],
    typed: str,
    what: str,
    label: Callable[[StoredCell], str],
    default: Callable[[StoredCell], str],
) -> list[StoredCell]:
    keep = _named(cells, typed, what, [label])
    return [cell for cell in cells if (label(cell) == default(cell) if keep is None else label(cell) in keep)]


def _first_explainer(cell: StoredCell) -> str:
    return cell.store.plan().explainers[0]


def _first_attack(cell: StoredCell) -> str:
    attacks = cell.store.plan().attacks
    return next((attack.label for attack in attacks if attack.name != "noise"), attacks[0].label)


def _of_radii(cells: list[StoredCell], radii: Sequence[float]) -> list[StoredCell]:
    for eps in radii:
        if not any(_near(cell, eps) for cell in cells):
            known = ", ".join(dict.fromkeys(cell.store.plan().comparison.threat for cell in cells))
            raise UsageError(f"--eps {eps:g}: there is {known}")
    return [cell for cell in cells if any(_near(cell, eps) for eps in radii)] if radii else cells


def _near(cell: StoredCell, eps: float) -> bool:
    return math.isclose(cell.rows[0].cell.threat["eps"], eps, rel_tol=1e-6)


def _named(
    cells: Sequence[StoredCell], typed: str, what: str, labels: Sequence[Callable[[StoredCell], str]]
) -> set[str] | None:
    """The labels that a typed list names; None where it is empty. A name alone stands for all its settings."""
    if not typed:
        return None
    refuse_empty(typed, f"--{what}s")
    known = dict.fromkeys(label(cell) for label in labels for cell in cells)
    found: set[str] = set()
    for name in _names(typed, known):
        same = {label for label in known if name in (label, label.partition(":")[0])}
        if not same:
            raise UsageError(f"--{what}s: no {what} {name!r}.{did_you_mean(name, known)} There is {', '.join(known)}")
        found |= {name} if name in same else same
    return found


def _names(typed: str, known: Iterable[str]) -> list[str]:
    """A list taken apart at its commas, but for those inside of known labels, e.g. ``topk:k=5,steps=3``."""
    labels, pieces, found = set(known), typed.split(","), list[str]()
    while pieces:
        count = next((count for count in range(len(pieces), 1, -1) if ",".join(pieces[:count]).strip() in labels), 1)
        found.append(",".join(pieces[:count]).strip())
        del pieces[:count]
    return found


def metric_of(cell: StoredCell, typed: str) -> int:
    """The position of a metric among those of a cell, by label, title, title without its unit, or name.

    Raises:
        UsageError: there is none, or a name alone stands for several.
    """
    facts = [row.metric for row in cell.rows]
    if not typed:
        return 0
    exact = [index for index, metric in enumerate(facts) if typed.casefold() in _words(metric)]
    found = exact or [index for index, metric in enumerate(facts) if metric.name == typed]
    if len(found) == 1:
        return found[0]
    known = [metric.label for metric in facts]
    if found:
        raise UsageError(f"--metric {typed} stands for several; give one of {', '.join(known)}")
    near = did_you_mean(typed, [*known, *(metric.title.partition(" (")[0] for metric in facts)])
    raise UsageError(f"--metric: no metric {typed!r} under an attack.{near} There is {', '.join(known)}")


def _words(metric: MetricFacts) -> set[str]:
    return {word.casefold() for word in (metric.label, metric.title, metric.title.partition(" (")[0])}


def named_among(cell: StoredCell) -> str:
    """The network of a cell, with its seed where the run has several."""
    label = cell.subject.label
    return named(cell.subject) if sum(item.label == label for item in cell.store.plan().subjects) > 1 else label


def ranked(scores: Floats, rank: Rank, *, higher: bool) -> int | None:
    """The position of the worst score for the network, or of the median one; None where no score is defined.

    Of several equal ones it is the first. The median of an even number of scores is the worse of the two in the middle.

    Args:
        scores: one for each image.
        rank: which is looked for.
        higher: whether a higher score is better for the network.
    """
    defined = np.flatnonzero(np.isfinite(scores))
    if not len(defined):
        return None
    values = scores[defined] if higher else -scores[defined]
    order = np.argsort(values, kind="stable")
    return int(defined[order[0 if rank == "worst" else (len(order) - 1) // 2]])
