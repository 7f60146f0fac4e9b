"""Which settings of an explainer are chosen, for all networks of a run: decided from rows of the validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

from msgspec.structs import replace

from attrobust.benchmark.store.choice import means
from attrobust.benchmark.store.rows import MetricFacts, Record, Row


class ExplainerTrial(Record, frozen=True, kw_only=True):
    """An explainer with one network.

    Attributes:
        network: as the table calls it.
        seed: of its training; null for a user's checkpoint.
        sha256: of its weights; empty where training failed.
        score: fingerprint of the row with the score, measured on the validation split.
    """

    network: str
    seed: int | None
    sha256: str
    score: str


class ExplainerCandidate(Record, frozen=True, kw_only=True):
    """One setting of an explainer with what was measured of it.

    Attributes:
        label: as the table would print it.
        trials: one for each network, seeds of a method beside each other.
        score: mean over images, then over the seeds of a method, then over methods and checkpoints; null where it could
            not be measured.
        problem: why it cannot be chosen.
    """

    label: str
    trials: tuple[ExplainerTrial, ...]
    score: float | None
    problem: str


def explainer_candidate(label: str, trials: Sequence[ExplainerTrial], rows: Mapping[str, Row]) -> ExplainerCandidate:
    """A candidate as its rows describe it.

    Networks that could not be trained are left out, for all candidates alike. One that fails, or is undefined on more
    than half of the images, with any of the others cannot be chosen: all rows of a table have the same columns.
    """
    scores, problem = [], "" if any(trial.sha256 for trial in trials) else "no network could be trained"
    for network, seeds in groupby((trial for trial in trials if trial.sha256), key=lambda trial: trial.network):
        found, wrong = means([rows.get(trial.score) for trial in seeds])
        problem = problem or (f"{wrong} with {network}" if wrong else "")
        scores += [fmean(found)] if found else []
    return ExplainerCandidate(
        label=label,
        trials=tuple(trials),
        score=fmean(scores) if scores and not problem else None,
        problem=problem,
    )


class ExplainerChoice(Record, frozen=True, kw_only=True):
    """An explainer with values in braces, what they were compared by, and what came of it.

    Attributes:
        sweep: as typed.
        metric: of maps of clean images, whose mean decides.
        images: how many of the validation split were explained.
        candidates: in the order typed.
        chosen: label of the best candidate as it was written; null where there is none. Nothing is read from it but
            by ``verify``: which is the best is decided anew.
    """

    sweep: str
    metric: MetricFacts
    images: int
    candidates: tuple[ExplainerCandidate, ...]
    chosen: str | None = None

    @property
    def best(self) -> ExplainerCandidate | None:
        """The best candidate, the first typed among equals; None where none can be chosen."""
        sign = 1 if self.metric.higher_is_better else -1
        allowed = [(sign * item.score, item) for item in self.candidates if item.score is not None]
        return max(allowed, key=lambda pair: pair[0])[1] if allowed else None

    @property
    def shown(self) -> str:
        """Label of the column of the table: the best, or the first where none can be chosen."""
        return (self.best or self.candidates[0]).label

    def settled(self) -> ExplainerChoice:
        """With ``chosen`` as the candidates have it."""
        return replace(self, chosen=self.best.label if self.best else None)
