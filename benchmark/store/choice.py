"""Which member of a sweep is chosen: decided from rows of the validation split, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from msgspec.structs import replace

from attrobust.benchmark.store.rows import FailedRow, MetricFacts, Record, Row

MARGIN = 0.02
"""How far below its most accurate member a sweep's own floor lies."""
SLACK = 1e-9
"""Rounding of a mean that is exactly the floor."""


class Trial(Record, frozen=True, kw_only=True):
    """A candidate with one training seed.

    Attributes:
        seed: of training.
        sha256: of the weights; empty where training failed.
        accuracy, score: fingerprints of the rows that hold both, measured on the validation split.
    """

    seed: int | None
    sha256: str
    accuracy: str
    score: str


class Candidate(Record, frozen=True, kw_only=True):
    """A member of a sweep with what was measured of it.

    Attributes:
        label: as the table would print it.
        trials: one for each training seed.
        accuracy: clean, on the whole validation split, mean over seeds; null where it could not be measured.
        score: the criterion's mean over images, then over seeds; null where it could not be measured.
        problem: why it cannot be chosen, whatever the floor.
    """

    label: str
    trials: tuple[Trial, ...]
    accuracy: float | None
    score: float | None
    problem: str


def candidate(label: str, trials: Sequence[Trial], rows: Mapping[str, Row]) -> Candidate:
    """A candidate as its rows describe it.

    One that is undefined on more than half of the images cannot be chosen, as it is not ranked in a table.
    """
    accuracies, problem = means([rows.get(trial.accuracy) for trial in trials])
    scores, other = means([rows.get(trial.score) for trial in trials])
    return Candidate(
        label=label,
        trials=tuple(trials),
        accuracy=fmean(accuracies) if accuracies else None,
        score=fmean(scores) if scores else None,
        problem=problem or other,
    )


def means(rows: Sequence[Row | None]) -> tuple[list[float], str]:
    """The means of rows; or none, and what is wrong with the first row that has no use."""
    found = []
    for row in rows:
        if row is None:
            return [], "its row is missing"
        if isinstance(row, FailedRow):
            return [], row.error
        if 2 * row.n_defined < row.n or row.mean is None:
            return [], f"undefined on {row.n - row.n_defined} of {row.n} images"
        found.append(row.mean)
    return found, ""


class Choice(Record, frozen=True, kw_only=True):
    """A sweep, what its members were compared by, and what came of it.

    Attributes:
        sweep: as typed.
        metric: whose mean decides.
        attack, explainer: labels.
        images: how many of the validation split were attacked.
        floor: the accuracy asked for; None for ``MARGIN`` below the most accurate candidate.
        candidates: in the order typed.
        chosen: label of the best candidate as it was written; null where there is none. Nothing is read from it but
            by ``verify``: who is the best is decided anew.
    """

    sweep: str
    metric: MetricFacts
    attack: str
    explainer: str
    images: int
    floor: float | None
    candidates: tuple[Candidate, ...]
    chosen: str | None = None

    @property
    def least(self) -> float | None:
        """The clean accuracy a candidate must have; None where no floor was asked for and no accuracy is known."""
        if self.floor is not None:
            return self.floor
        known = [item.accuracy for item in self.candidates if item.accuracy is not None]
        return max(0.0, max(known) - MARGIN) if known else None

    @property
    def best(self) -> Candidate | None:
        """The best candidate at or above the floor, the first typed among equals; None where there is none."""
        sign = 1 if self.metric.higher_is_better else -1
        allowed = [
            (sign * item.score, item) for item in self.candidates if item.score is not None and self.allows(item)
        ]
        return max(allowed, key=lambda pair: pair[0])[1] if allowed else None

    def allows(self, item: Candidate) -> bool:
        """Whether a candidate has no problem and is not below the floor."""
        if item.problem or item.accuracy is None or self.least is None:
            return False
        return item.accuracy >= self.least - SLACK

    def settled(self) -> Choice:
        """With ``chosen`` as the candidates have it."""
        return replace(self, chosen=self.best.label if self.best else None)
