"""Tuning: of every explainer with values in braces, the setting whose maps of validation images are the best."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.executors.base import Executor
from attrobust.benchmark.report.tuned import table
from attrobust.benchmark.request.criterion import ExplainerCriterion, ExplainerSweep
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.cells import metric_facts, with_weights
from attrobust.benchmark.run.completed import Completed
from attrobust.benchmark.run.driver import Driver
from attrobust.benchmark.run.grid import Grid
from attrobust.benchmark.run.plan import Plan, Planner
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.explainer_choice import ExplainerChoice, ExplainerTrial, explainer_candidate
from attrobust.benchmark.store.rows import Row
from attrobust.explainers.base import Explainer
from attrobust.naming.component import Component

LOG = logging.getLogger("attrobust")


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What tuning leaves.

    Attributes:
        choices: one for each sweep of explainers; None where they are not all decided yet.
        failures: one line for everything that went wrong.
    """

    choices: tuple[ExplainerChoice, ...] | None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """Measures settings of explainers, and chooses.

    Attributes:
        criterion: what is compared.
        grid: which settings, on which validation images.
        planner: of this grid.
        subjects: the networks of the run, without sanity-check baselines.
    """

    criterion: ExplainerCriterion
    grid: Grid
    planner: Planner
    subjects: Sequence[Subject]

    def plan(self) -> Plan:
        """All that is to be measured."""
        return self.planner.plan(self.subjects)

    def known(self, driver: Driver, sha256_of: Callable[[Subject], str]) -> Tuned:
        """The choices, where all that they rest on is on disk.

        Args:
            driver: that knows the rows on disk.
            sha256_of: the weights of a row, as far as they are known.
        """
        measured = []
        for part in self.plan().parts:
            sha256 = sha256_of(part.subject)
            cells = tuple(replace(cell, job=with_weights(cell.job, sha256, "")) for cell in part.cells)
            if not sha256 or any(driver.lacking(cell.job) for cell in cells):
                return Tuned(choices=None)
            done = Completed(
                position=part.position, subject=part.subject, sha256=sha256, cells=cells, failures=[], findings={}
            )
            measured.append(done)
        return Tuned(choices=tuple(tune(self.criterion, self.grid.images, measured, driver.rows)))

    def run(self, driver: Driver, executor: Executor) -> Tuned:
        """Measure what is missing, and choose."""
        measured = list(driver.run(self.plan(), executor))
        choices = tune(self.criterion, self.grid.images, measured, driver.rows)
        failures = [line for done in measured for line in done.failures]
        for choice in choices:
            for line in table(choice):
                LOG.info("%s", line)
            if choice.best is None:
                failures.append(f"{choice.sweep}: nothing to choose from, {choice.shown} is shown")
        return Tuned(choices=tuple(choices), failures=tuple(failures))


def tune(
    criterion: ExplainerCriterion, images: int, measured: Sequence[Completed], rows: Mapping[str, Row]
) -> list[ExplainerChoice]:
    """A choice for every sweep, the same for all networks: a table compares them by the same explanations.

    Args:
        criterion: what is compared.
        images: of the validation split, that were explained.
        measured: every network of the run with its cells, which are in ``rows``.
        rows: by fingerprint.
    """
    ordered = sorted(measured, key=lambda done: done.position)
    return [_choice(sweep, criterion, images, ordered, rows) for sweep in criterion.sweeps]


def _choice(
    sweep: ExplainerSweep,
    criterion: ExplainerCriterion,
    images: int,
    measured: Sequence[Completed],
    rows: Mapping[str, Row],
) -> ExplainerChoice:
    candidates = []
    for item in sweep.candidates:
        trials = [
            ExplainerTrial(network=done.subject.label, seed=done.subject.seed, sha256=done.sha256, score=key)
            for done in measured
            for key in done.keys_of(item.label)
        ]
        candidates.append(explainer_candidate(item.label, trials, rows))
    return ExplainerChoice(
        sweep=sweep.text, metric=metric_facts(criterion.metric), images=images, candidates=tuple(candidates)
    ).settled()


def columns(request: Request, choices: Iterable[ExplainerChoice]) -> list[Component[Explainer]]:
    """The explainers of the table: of every sweep the one that is shown, in the place where it was typed.

    Args:
        request: as asked for, with all settings.
        choices: of its sweeps; of a sweep without a choice the first setting stands in.
    """
    shown = {choice.sweep: choice.shown for choice in choices}
    left_out = set()
    for sweep in request.explainer_criterion.sweeps if request.explainer_criterion else ():
        labels = [item.label for item in sweep.candidates]
        left_out |= {label for label in labels if label != shown.get(sweep.text, labels[0])}
    return [item for item in request.explainers if item.label not in left_out]
