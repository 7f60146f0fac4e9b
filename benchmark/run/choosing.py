"""Choosing: of every sweep the member that does best on the validation split becomes the row of the table."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.report.choices import reason, table
from attrobust.benchmark.request.criterion import Criterion
from attrobust.benchmark.run.cells import metric_facts
from attrobust.benchmark.run.completed import Completed
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.choice import Choice, Trial, candidate
from attrobust.benchmark.store.rows import Row

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
    measured: Iterable[Completed],
    rows: Mapping[str, Row],
) -> Selection:
    """Keep the best candidate of each sweep, in its place among the other rows.

    Args:
        subjects: rows and candidates.
        criterion: what is compared.
        images: of the validation split, to be attacked.
        measured: every candidate once its two cells, clean accuracy and the criterion, are in ``rows``, in any order; a
            sweep is decided as soon as all its members are there.
        rows: by fingerprint, as they are then.
    """
    sweeps = _sweeps(subjects)
    done: dict[tuple[str, int | None], Completed] = {}
    choices: dict[str, Choice] = {}
    for completed in measured:
        done[completed.subject.label, completed.subject.seed] = completed
        sweep = completed.subject.candidate_of
        members = [done.get((item.label, item.seed)) for item in sweeps[sweep]]
        found = [item for item in members if item is not None]
        if len(found) == len(members):
            choices[sweep] = _choice(sweep, criterion, images, found, rows)
            for line in table(choices[sweep]):
                LOG.info("%s", line)
    selection = Selection(subjects=[], choices=[choices[sweep] for sweep in sweeps], failures=[])
    for sweep, group in itertools.groupby(subjects, key=lambda subject: subject.candidate_of):
        if not sweep:
            selection.subjects.extend(group)
            continue
        selection.subjects.extend(_rows_of(choices[sweep], sweeps[sweep]))
        for item in sweeps[sweep]:
            selection.failures.extend(done[item.label, item.seed].failures)
    return selection


def _sweeps(subjects: Sequence[Subject]) -> dict[str, list[Subject]]:
    """By sweep, its candidates."""
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        if subject.candidate_of:
            found.setdefault(subject.candidate_of, []).append(subject)
    return found


def _choice(
    sweep: str, criterion: Criterion, images: int, measured: Sequence[Completed], rows: Mapping[str, Row]
) -> Choice:
    candidates = []
    for label, seeds in itertools.groupby(measured, key=lambda item: item.subject.label):
        trials = []
        for item in seeds:
            accuracy, score = item.keys
            trials.append(Trial(seed=item.subject.seed, sha256=item.sha256, accuracy=accuracy, score=score))
        candidates.append(candidate(label, trials, rows))
    return Choice(
        sweep=sweep,
        metric=metric_facts(criterion.metric),
        attack=criterion.attack.label,
        explainer=criterion.explainer.label,
        images=images,
        floor=criterion.floor,
        candidates=tuple(candidates),
    ).settled()


def _rows_of(choice: Choice, members: Sequence[Subject]) -> list[Subject]:
    if choice.best is None:
        first = replace(members[0], label=choice.sweep, seed=None, candidate_of="", unchosen=reason(choice))
        return [first]
    return [replace(item, candidate_of="") for item in members if item.label == choice.best.label]
