"""What the verdict of a leaderboard shows: a view of its groups, in which nothing is computed but counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Line, Mean, Metric, Number, SeedNumber
from attrobust.benchmark.report.verdict.lookup import Found, Item, Place
from attrobust.benchmark.report.view.style import Intervals
from attrobust.benchmark.report.words import CONTESTED, header, interval_text, method_name, name

INSERTION = "insertion"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number of the verdict.

    Attributes:
        mean: as all tables print it, or why there is none.
        interval: behind it, empty where there is none.
        rank: in its column; None where it is not ranked.
        missing: images on which it is undefined, where it is defined on others.
        marks: of flags and contests.
        flagged: whether there is a flag.
    """

    mean: str
    interval: str = ""
    rank: int | None = None
    missing: int = 0
    marks: str = ""
    flagged: bool = False

    def text(self, *, interval: bool, bold: str = "") -> str:
        """In one line, e.g. ``47.8 [44.7, 51.1] (1)``."""
        mean = f"{bold}{self.mean}{bold}" if self.rank == 1 else self.mean
        missing = f"({self.missing} undefined)" if self.missing else ""
        rank = "" if self.rank is None else f"({self.rank})"
        return " ".join(filter(None, [mean, self.interval if interval else "", rank, missing, self.marks]))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the verdict.

    Attributes:
        words: what it is called, with its explainer.
        metric: of it.
    """

    words: tuple[str, ...]
    metric: Metric


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method.

    Attributes:
        name: of its row.
        accuracies, values: in the order of the columns.
        unbeaten: in how many of the columns that count no method is better and can be told from it.
        passes: see ``Line.passes``.
        flags: names of all of them.
        competes: whether it may lead: it is no baseline, and not at chance.
    """

    name: str
    accuracies: tuple[Value, ...]
    values: tuple[Value, ...]
    unbeaten: int
    passes: float | None
    flags: tuple[str, ...]
    competes: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of a leaderboard.

    Attributes:
        where: of a leaderboard beside others, what it is about; else empty.
        accuracies, columns: what stands in it.
        rows: methods, those that are unbeaten most often first, and of equals those with the better means; baselines
            where there is nothing else.
        counted: in how many columns methods are ranked.
        basis: of which these are, in words.
        images: that were attacked.
    """

    where: str
    accuracies: tuple[Column, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    counted: int
    basis: str
    images: int


def verdict_of(board: Leaderboard) -> Verdict:
    """The verdict of a leaderboard."""
    counting, found = counted(board), Found(board)
    shown = [(group, positions[0]) for group, positions in counting]
    places = [(group, position) for group, positions in counting for position in positions]
    ranked = [place for place in places if any(found.rank(item, place) is not None for item in found.items)]
    rows = [(item, _row(found, item, shown, ranked)) for item in found.items]
    order = sorted(rows, key=lambda pair: (not pair[1].competes, -pair[1].unbeaten, *found.order(pair[0], ranked)))
    return Verdict(
        where=board.where,
        accuracies=tuple(Column(words=(metric.title,), metric=metric) for metric in board.accuracies),
        columns=tuple(_column(group, position) for group, position in shown),
        rows=tuple(row for _, row in order),
        counted=len(ranked),
        basis=_basis(counting),
        images=board.comparison.images,
    )


def with_verdict(boards: Sequence[Leaderboard]) -> list[Leaderboard]:
    """Those leaderboards that have a verdict: a view of some of the columns has none."""
    return [board for board in boards if board.has_verdict]


def counted(board: Leaderboard) -> list[tuple[Group, list[int]]]:
    """The groups that count, each with the positions of its metrics that do.

    These are worst cases of maps under attack, and insertion; of a run that measures neither, everything it measures.
    """
    groups = [*(board.worst or board.subset(ALL, "attack")), *board.subset(ALL, "map")]
    found = [(group, _counting(group)) for group in groups]
    if any(positions for _, positions in found):
        return [pair for pair in found if pair[1]]
    return [(group, [*range(len(group.metrics))]) for group in board.subset(ALL)]


def _counting(group: Group) -> list[int]:
    names = [metric.label.partition(":")[0] for metric in group.metrics]
    return [place for place, label in enumerate(names) if group.scope != "map" or label == INSERTION]


def _row(found: Found, item: Item, shown: Sequence[Place], ranked: Sequence[Place]) -> Row:
    board = found.board
    return Row(
        name=f"{method_name(item, board)} ({item.seeds} seeds)" if isinstance(item, Mean) else name(item, board),
        accuracies=tuple(_value(found, item, (found.accuracy, place)) for place in range(len(board.accuracies))),
        values=tuple(_value(found, item, place) for place in shown),
        unbeaten=sum(found.rank(item, place) == 1 for place in ranked),
        passes=item.passes,
        flags=found.flags(item),
        competes=not (item.chance or (isinstance(item, Line) and item.baseline)),
    )


def _value(found: Found, item: Item, place: Place) -> Value:
    group, position = place
    row, metric = found.row(group, item), group.metrics[position]
    if isinstance(row, Mean):
        return _over_seeds(metric, row.numbers[position])
    return _number(metric, row.numbers[position], found.board.style.intervals)


def _number(metric: Metric, number: Number, intervals: Intervals) -> Value:
    estimate = number.estimate
    marks = " ".join(filter(None, ["!" if number.flags else "", CONTESTED if number.contests else ""]))
    if estimate is None:
        return Value(mean="failed")
    if not estimate.defined:
        return Value(mean="undefined", marks=marks, flagged=bool(number.flags))
    return Value(
        mean=metric.text(estimate.mean),
        interval=interval_text(metric, estimate, intervals),
        rank=number.rank,
        missing=estimate.n - estimate.defined,
        marks=marks,
        flagged=bool(number.flags),
    )


def _over_seeds(metric: Metric, number: SeedNumber) -> Value:
    value = number.value
    if value is None:
        return Value(mean="failed")
    error = metric.width_text(value.error, 1)
    return Value(
        mean=metric.text(value.mean) or "undefined",
        interval=f"± {error}" if error else "",
        rank=number.rank,
        marks="!" if number.flags else "",
        flagged=bool(number.flags),
    )


def _column(group: Group, position: int) -> Column:
    metric = group.metrics[position]
    title = header(metric, group.metrics)
    kind = {"worst": f"worst {title}", "attack": f"{title} under {group.attack}"}.get(group.scope, title)
    return Column(words=(kind, group.explainer) if group.explainer else (kind,), metric=metric)


def _basis(counting: Sequence[tuple[Group, list[int]]]) -> str:
    """Which columns count, in words, e.g. ``worst of 3 attacks in top-10%, Spearman; insertion AUC; 2 explainers``."""
    kinds: dict[str, dict[str, None]] = {}
    for group, positions in counting:
        kind = {"worst": f"{group.attack} in ", "attack": f"{group.attack} in "}.get(group.scope, "")
        titles = [header(group.metrics[position], group.metrics).removesuffix(" (%)") for position in positions]
        kinds.setdefault(kind, {}).update(dict.fromkeys(titles))
    explainers = {group.explainer: None for group, _ in counting if group.explainer}
    of = [f"{len(explainers)} explainers"] if len(explainers) > 1 else [*explainers]
    return "; ".join([*(kind + ", ".join(titles) for kind, titles in kinds.items()), *of])
