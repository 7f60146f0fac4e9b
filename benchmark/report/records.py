"""Runs as they lie on disk: what was measured of which network, read for a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attrobust.arrays import Booleans, Floats
from attrobust.benchmark.report.beaten import yardsticks
from attrobust.benchmark.report.shards import Whole
from attrobust.benchmark.report.table import Metric, Number, TableScope
from attrobust.benchmark.report.training import origin_of
from attrobust.benchmark.statistics import Estimate, at_chance, estimate
from attrobust.benchmark.store.contests import standing
from attrobust.benchmark.store.plan import Address
from attrobust.benchmark.store.rows import ACCURACY, Contest, FailedRow, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import Flag, UsageError

CLEAN = Metric.of(ACCURACY)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a group of rows stands in a table.

    Attributes:
        scope: what its metrics belong to.
        explainer, attack: as typed; empty where there is none; for the worst of all attacks, in words.
    """

    scope: TableScope
    explainer: str
    attack: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a row and its file say.

    Attributes:
        scores: one for each image.
        feasible: whether the attack on each obeyed the rules.
        estimate: the mean of the scores and its percentile interval, which the run computed; None where no digest
            says that the row is as the run wrote it.
        contests: who contested it.
    """

    scores: Floats
    feasible: Booleans
    estimate: Estimate | None
    contests: tuple[Contest, ...] = ()


class Run:
    """One run read from disk."""

    def __init__(self, whole: Whole) -> None:
        self.plan = whole.plan
        self.images = self.plan.comparison.images
        self.metrics = [Metric.of(item) for item in self.plan.metrics]
        self.accuracies = [CLEAN]
        if robust := self.plan.accuracy_attack:
            self.accuracies.append(Metric.of(robust.metric, attack=robust.label))
        self.yardsticks = {item.label: yardsticks(item, self.plan.attacks) for item in self.plan.attacks}
        self.folder, self.version = whole.parts[0][0].folder, whole.parts[0][0].version
        self._rows: dict[Address, tuple[Row, Store]] = {}
        for store, entries in whole.parts:
            rows = standing(store.rows())
            for entry in entries:
                if entry.row not in rows:
                    raise UsageError(f"{store.folder}/rows.jsonl lacks a row of its plan; run the benchmark again")
                self._rows[entry.address] = rows[entry.row], store

    def of(self, scope: TableScope) -> list[Metric]:
        """The metrics of a scope."""
        return [metric for metric in self.metrics if metric.scope == scope]

    def row(self, subject: int, explainer: str, attack: str, metric: str) -> Row:
        """The row that stands at a place of the table."""
        return self._found(subject, explainer, attack, metric)[0]

    def stored(self, subject: int, explainer: str, attack: str, metric: str) -> Stored | None:
        """What was stored of a row; None where the cell failed."""
        row, store = self._found(subject, explainer, attack, metric)
        if isinstance(row, FailedRow):
            return None
        scores, feasible = store.load_scores(row)
        known = row.digest and row.is_as_written
        interval = _estimate(row) if known else None
        return Stored(scores=scores, feasible=feasible, estimate=interval, contests=row.contests)

    def _found(self, *place: *Address) -> tuple[Row, Store]:
        if place not in self._rows:
            raise UsageError(f"{self.folder}/run.json lacks an entry of its table; run the benchmark again")
        return self._rows[place]


def _estimate(row: ScoredRow) -> Estimate:
    mean, low, high = (math.nan if value is None else value for value in (row.mean, *row.ci))
    return Estimate(mean=mean, low=low, high=high, n=row.n, defined=row.n_defined)


class Network:
    """One network of a run, with its clean accuracy.

    Args:
        run: that evaluated it.
        position: among the subjects of the run.
        version: of the run, where other runs beside it have another network in its place; else empty.
    """

    def __init__(self, run: Run, position: int, version: str = "") -> None:
        self._run, self._position = run, position
        self.subject = run.plan.subjects[position]
        self.label = f"{self.subject.label} ({version})" if version else self.subject.label
        self.baseline = self.subject.baseline
        self.method = f"{self.subject.kind} {version}".rstrip()
        self.folder = run.folder
        self.passes = None if self.baseline else (run.plan.passes or {}).get(self.subject.label)
        self.origin = origin_of(self.subject)
        found = run.stored(position, "", "", CLEAN.label)
        self.chance = None if found is None or self.baseline else self._chance(found.scores)
        self.correct: Booleans | None = None if found is None else found.scores[: run.images] > 0.5
        self.accuracies = tuple(self._accuracy(metric) for metric in run.accuracies)

    @property
    def audited(self) -> bool:
        """Whether all of its explainers were tried out, where anything was attacked of them."""
        plan, attacked = self._run.plan, self._run.of("attack")
        if self.baseline or not attacked:
            return True
        name, labels = attacked[0].label, [attack.label for attack in plan.attacks]
        return all(
            any(isinstance(row, FailedRow) or row.audit is not None for row in rows)
            for explainer in plan.explainers
            if (rows := [self._run.row(self._position, explainer, label, name) for label in labels])
        )

    def stored(self, place: Place, metric: Metric) -> Stored | None:
        """What was stored of a cell, of all attacked images; None where it failed.

        Of networks that were trained anew it is more: they are tried on the whole test split.
        """
        found = self._run.stored(self._position, place.explainer, place.attack, metric.label)
        if found is not None and place.scope != "training" and len(found.scores) != self._run.images:
            raise UsageError(
                f"{self._run.folder}/run.json tells of other images than its rows; run the benchmark again"
            )
        return found

    def row(self, explainer: str, attack: str, metric: str) -> Row:
        """The row behind a number."""
        return self._run.row(self._position, explainer, attack, metric)

    def scores(self, explainer: str, attack: str, metric: str) -> Floats | None:
        """Per-image scores of a row as they are stored; None where the cell failed."""
        found = self.stored_at(explainer, attack, metric)
        return None if found is None else found.scores

    def stored_at(self, explainer: str, attack: str, metric: str) -> Stored | None:
        """What was stored of the network at a place of the table, accuracies too; None where the cell failed."""
        return self._run.stored(self._position, explainer, attack, metric)

    @property
    def rows(self) -> list[Row]:
        """All rows of the network that stand in the table."""
        entries = self._run.plan.entries
        return [self._run.row(*entry.address) for entry in entries if entry.subject == self._position]

    @property
    def argv(self) -> tuple[str, ...]:
        """Of the command that made the run, as typed."""
        return self._run.plan.argv

    def is_own_source_model(self, explainer: str, attack: str) -> bool:
        """Whether the other network that an attack follows is this one."""
        cell = self._run.row(self._position, explainer, attack, self._run.of("attack")[0].label).cell
        return cell.source_model_sha256 != "" and cell.source_model_sha256 == cell.checkpoint_sha256

    def flags(self, place: Place) -> tuple[Flag, ...]:
        """What the audit found, told by the rows of every metric; the same of each attack on the explanation."""
        if place.scope not in ("attack", "worst"):
            return ()
        attacks = [place.attack] if place.scope == "attack" else [attack.label for attack in self._run.plan.attacks]
        rows = [
            self._run.row(self._position, place.explainer, attack, metric.label)
            for attack in attacks
            for metric in self._run.of("attack")
        ]
        return tuple(dict.fromkeys(flag for row in rows if isinstance(row, ScoredRow) for flag in row.flags or ()))

    def _accuracy(self, metric: Metric) -> Number:
        """Over the whole test split or, under an attack, over all attacked images."""
        found = self._run.stored(self._position, "", metric.attack, metric.label)
        if found is None:
            return Number(estimate=None)
        return Number(
            estimate=found.estimate or estimate(found.scores, unit=metric.unit),
            feasible=int(found.feasible.sum()) if metric.attack else None,
            flags=(self.chance,) if self.chance else (),
        )

    def _chance(self, hits: Floats) -> Flag | None:
        """A flag where its clean accuracy does not tell it from guessing."""
        row = self._run.row(self._position, "", "", CLEAN.label)
        most_frequent = (row.guessing if isinstance(row, ScoredRow) else None) or 0.0
        guessing = max(1 / row.cell.subject.images.classes, most_frequent)
        reason = at_chance(int((hits > 0.5).sum()), len(hits), guessing)
        return Flag(name="at-chance", reason=reason) if reason else None
