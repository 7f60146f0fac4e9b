"""The groups of a table over one subset of the images: numbers first, then the ranks, which all of them decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attrobust.arrays import Booleans
from attrobust.benchmark.report.accuracies import Ranks
from attrobust.benchmark.report.beaten import beaten
from attrobust.benchmark.report.cells import Cells, Scored
from attrobust.benchmark.report.ranking import Method, column, competing
from attrobust.benchmark.report.records import Network, Place, Run
from attrobust.benchmark.report.table import Group, Line, Mean, Metric, Number, SeedNumber
from attrobust.benchmark.statistics import (
    Compared,
    Comparison,
    Estimate,
    compared,
    estimates,
    over_seeds,
    spreads,
)
from attrobust.benchmark.store.schema import How
from attrobust.types import Flag


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What a table says of a metric in one place.

    Attributes:
        numbers: of every network, not ranked yet.
        tested: of the methods that compete, without their flagged numbers.
        images: behind the numbers; 0 where all cells failed.
    """

    numbers: Sequence[Number]
    tested: Compared
    images: int


class Table:
    """A table: one family of comparisons.

    Args:
        networks: its rows.
        methods: what is ranked.
        run: whose columns it has.
        subset, mask: which images.
        how: intervals over images are computed.
        accuracies: ranks of the methods in each accuracy.

    Attributes:
        subset: as given.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        methods: Sequence[Method],
        run: Run,
        subset: str,
        mask: Booleans,
        how: How,
        accuracies: Ranks,
    ) -> None:
        self.subset = subset
        self._networks, self._methods, self._run, self._mask, self._how = networks, methods, run, mask, how
        self._competing, self._accuracies = competing(networks, methods), accuracies
        self._tested: list[Compared] = []
        self._groups: list[Group] = []

    def entries(
        self,
        place: Place,
        metrics: Sequence[Metric],
        known: Mapping[str, Cells],
        raised: Sequence[Sequence[tuple[Flag, ...]]] = (),
    ) -> list[Entries]:
        """The entries of each metric in a place, for ``add``.

        Args:
            place, metrics: of the group.
            known: by label, what was measured under its attack and under those that it should beat.
            raised: flags known already, for each metric of each network; empty where there are none.
        """
        scores = known[place.attack].over(self._mask)
        others = {
            label: (name, known[label].over(self._mask)) for name, label in self._run.yardsticks.get(place.attack, [])
        }
        flags = [() if network.baseline else network.flags(place) for network in self._networks]
        more = raised or [[()] * len(flags)] * len(metrics)
        return [
            self._entries(
                place,
                metric,
                found,
                {label: (name, rows[m]) for label, (name, rows) in others.items()},
                [(*audited, *own) for audited, own in zip(flags, more[m], strict=True)],
            )
            for m, (metric, found) in enumerate(zip(metrics, scores, strict=True))
        ]

    def add(self, place: Place, metrics: Sequence[Metric], entries: Sequence[Entries]) -> None:
        """Take in the entries of every metric of a group."""
        lines = [
            line_of(network, place, [found.numbers[index] for found in entries])
            for index, network in enumerate(self._networks)
        ]
        self._tested += [found.tested for found in entries]
        self._groups.append(
            Group(
                subset=self.subset,
                images=(entries[0].images if entries else 0) or int(self._mask.sum()),
                scope=place.scope,
                explainer=place.explainer,
                attack=place.attack,
                metrics=tuple(metrics),
                lines=tuple(lines),
            )
        )

    def groups(self) -> list[Group]:
        """All groups, ranked together."""
        ranks = Comparison(self._tested).ranks()
        places = {method: position for position, method in enumerate(self._competing)}
        ranked, start = [], 0
        for group in self._groups:
            here = ranks[start : start + len(group.metrics)]
            start += len(here)
            lines, means = list(group.lines), []
            for method in self._methods:
                found = [rank[places[method]] if method in places else None for rank in here]
                if len(method) == 1:
                    line = lines[method[0]]
                    own = [replace(number, rank=n) for number, n in zip(line.numbers, found, strict=True)]
                    lines[method[0]] = replace(line, numbers=tuple(own), accuracies=self._ranked(line, method))
                else:
                    means.append(_mean([lines[index] for index in method], found, self._accuracy_ranks(method)))
            ranked.append(replace(group, lines=tuple(lines), means=tuple(means)))
        return ranked

    def _accuracy_ranks(self, method: Method) -> tuple[int | None, ...]:
        return self._accuracies.get(method, (None,) * len(self._run.accuracies))

    def _ranked(self, line: Line, method: Method) -> tuple[Number, ...]:
        """The accuracies of a network that is a method by itself."""
        ranks = self._accuracy_ranks(method)
        return tuple(replace(number, rank=rank) for number, rank in zip(line.accuracies, ranks, strict=True))

    def _entries(
        self,
        place: Place,
        metric: Metric,
        scores: Sequence[Scored | None],
        others: Mapping[str, tuple[str, Sequence[Scored | None]]],
        flags: Sequence[tuple[Flag, ...]],
    ) -> Entries:
        cells = [(index, found) for index, found in enumerate(scores) if found is not None]
        intervals = self._estimates([found for _, found in cells], metric.unit)
        tails = spreads([found.values for _, found in cells], [metric.higher_is_better] * len(cells))
        numbers = [Number(estimate=None)] * len(self._networks)
        for (index, found), interval, tail in zip(cells, intervals, tails, strict=True):
            network = self._networks[index]
            raised = [network.chance] if network.chance else []
            if not network.baseline:
                rivals = {label: (name, rows[index]) for label, (name, rows) in others.items()}
                raised += [*flags[index], *_beaten(network, found, rivals, place, metric)]
            numbers[index] = Number(
                estimate=interval,
                feasible=int(found.feasible.sum()) if place.scope == "attack" else None,
                spread=tail,
                flags=tuple(raised),
                contests=found.contests,
            )
        trusted = [None if number.flags else found for number, found in zip(numbers, scores, strict=True)]
        return Entries(
            numbers=numbers,
            tested=compared(column(self._competing, trusted, metric.higher_is_better)),
            images=len(cells[0][1].values) if cells else 0,
        )

    def _estimates(self, cells: Sequence[Scored], unit: bool) -> list[Estimate]:
        """Those that the run computed, and the others."""
        known = [cell.estimate if self._how == "percentile" else None for cell in cells]
        left = [cell.values for cell, estimate in zip(cells, known, strict=True) if estimate is None]
        found = iter(estimates(left, [unit] * len(left), self._how))
        return [estimate or next(found) for estimate in known]


def line_of(network: Network, place: Place, numbers: Sequence[Number]) -> Line:
    """A row of a group."""
    return Line(
        label=network.label,
        seed=network.subject.seed,
        sha256=network.subject.sha256,
        method=network.method,
        key=network.subject.key,
        accuracies=network.accuracies,
        numbers=tuple(numbers),
        origin=network.origin,
        flags=network.flags(place),
        baseline=network.baseline,
        chance=network.chance,
        passes=network.passes,
    )


def _mean(lines: Sequence[Line], ranks: Sequence[int | None], accuracy_ranks: Sequence[int | None]) -> Mean:
    """One method over the lines of its seeds."""
    accuracies = zip(*(line.accuracies for line in lines), strict=True)
    numbers = zip(*(line.numbers for line in lines), strict=True)
    return Mean(
        label=lines[0].label,
        method=lines[0].method,
        seeds=len(lines),
        accuracies=tuple(map(_over, accuracies, accuracy_ranks)),
        numbers=tuple(map(_over, numbers, ranks)),
        origin=lines[0].origin,
        chance=tuple(dict.fromkeys(line.chance for line in lines if line.chance)),
        passes=lines[0].passes,
    )


def _over(numbers: Sequence[Number], rank: int | None) -> SeedNumber:
    means = [number.estimate.mean for number in numbers if number.estimate]
    return SeedNumber(
        value=over_seeds(means) if len(means) == len(numbers) else None,
        rank=rank,
        flags=tuple(dict.fromkeys(flag for number in numbers for flag in number.flags)),
    )


def _beaten(
    network: Network, found: Scored, rivals: Mapping[str, tuple[str, Scored | None]], place: Place, metric: Metric
) -> list[Flag]:
    """A flag for each kind of attack, of name and label, of which one does as much to the scores as what was found."""
    flags: dict[str, Flag] = {}
    for label, (name, other) in rivals.items():
        if other is None or _does_more(found, other, metric) or network.is_own_source_model(place.explainer, label):
            continue
        flag = beaten(found.values, other.values, name, higher_is_better=metric.higher_is_better)
        if flag is not None:
            flags.setdefault(name, flag)
    return list(flags.values())


def _does_more(found: Scored, other: Scored, metric: Metric) -> bool:
    """Whether means that need no second look, of scores that are all defined, say that an attack beats another."""
    return found.mean < other.mean if metric.higher_is_better else found.mean > other.mean
