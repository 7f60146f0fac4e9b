"""Choosing: of every sweep the member that does best on the validation split becomes the row of the table."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.report.choices import reason, table
from attrobust.benchmark.request.criterion import Criterion
from attrobust.benchmark.run.cells import Completed, metric_facts
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.choice import Choice, Trial, candidate
from attrobust.benchmark.store.store import Row

LOG = logging.getLogger("attrobust")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What choosing leaves.

    Attributes:
        subjects: the rows of the table; a sweep without a choice is a row that says why.
        choices: one for each sweep.
        failures: one line for everything that went wrong with a candidate.
    """

    subjects: list[Subject]
    choices: list[Choice]
    failures: list[str]


def choose(
    subjects: Sequence[Subject],
    criterion: Criterion,
    images: int,
    complete: Callable[[Subject], Completed],
    rows: Mapping[str, Row],
) -> Selection:
    """Measure every candidate and keep the best of each sweep, in its place among the other rows.

    Args:
        subjects: rows and candidates.
        criterion: what is compared.
        images: of the validation split, to be attacked.
        complete: sees to it that a candidate's two cells, clean accuracy and the criterion, are in ``rows``.
        rows: by fingerprint, as they are now.
    """
    selection = Selection(subjects=[], choices=[], failures=[])
    for sweep, group in itertools.groupby(subjects, key=lambda subject: subject.candidate_of):
        members = list(group)
        if not sweep:
            selection.subjects.extend(members)
            continue
        candidates = []
        for label, seeds in itertools.groupby(members, key=lambda subject: subject.label):
            trials = []
            for subject in seeds:
                done = complete(subject)
                selection.failures.extend(done.failures)
                accuracy, score = (key for task in done.tasks for key, _ in task.rows)
                trials.append(Trial(seed=subject.seed, sha256=done.sha256, accuracy=accuracy, score=score))
            candidates.append(candidate(label, trials, rows))
        choice = Choice(
            sweep=sweep,
            metric=metric_facts(criterion.metric),
            attack=criterion.attack.label,
            explainer=criterion.explainer.label,
            images=images,
            floor=criterion.floor,
            candidates=tuple(candidates),
        )
        for line in table(choice):
            LOG.info("%s", line)
        selection.choices.append(choice)
        selection.subjects.extend(_rows_of(choice, members))
    return selection


def _rows_of(choice: Choice, members: Sequence[Subject]) -> list[Subject]:
    if choice.chosen is None:
        first = replace(members[0], label=choice.sweep, seed=None, candidate_of="", unchosen=reason(choice))
        return [first]
    return [replace(item, candidate_of="") for item in members if item.label == choice.chosen.label]
