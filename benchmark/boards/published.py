"""The published numbers of a board: what its tables show, place by place, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.boards.board import stores_of
from attrobust.benchmark.store.contests import key_of, standing
from attrobust.benchmark.store.plan import SubjectEntry
from attrobust.benchmark.store.rows import Contest, ScoredRow


@dataclass(frozen=True)
class Place:
    """Where a number stands in a board; prints as one line says it.

    Attributes:
        run: words that tell the runs of a sweep apart; empty where there is one run.
        network: label of the row, with its seed.
        explainer, attack, metric: labels; empty where there is none.
    """

    run: str
    network: str
    explainer: str
    attack: str
    metric: str

    def __str__(self) -> str:
        parts = (self.run, self.network, self.explainer, self.attack, self.metric)
        return " / ".join(filter(None, parts))


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number as a table shows it.

    Attributes:
        row: fingerprint of its cell and metric.
        mean, ci: over images.
        images, defined, feasible: counts of images.
        scores_sha256: of the per-image scores.
        base_sha256: of those that the run wrote; another hash where the number is contested.
        weights: sha256 of the network's.
        higher_is_better: of the metric.
        flags: names and reasons; None where nothing was audited.
        contests: who contested it.
    """

    row: str
    mean: float | None
    ci: tuple[float | None, float | None]
    images: int
    defined: int
    feasible: int
    scores_sha256: str
    base_sha256: str
    weights: str
    higher_is_better: bool
    flags: tuple[tuple[str, str], ...] | None
    contests: tuple[Contest, ...]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """All that a board publishes.

    Attributes:
        shown: by place, what tables show.
        rows: fingerprints of all rows with scores, by the words of their run, also of those that no table shows.
        must_be_audited: places of ranked rows under attacks on explanations.
    """

    shown: dict[Place, Published]
    rows: frozenset[tuple[str, str]]
    must_be_audited: frozenset[Place]


def numbers_of(folder: Path) -> Numbers:
    """The published numbers of a board's folder; raises UsageError where a file cannot be read."""
    shown: dict[Place, Published] = {}
    rows: set[tuple[str, str]] = set()
    audited: set[Place] = set()
    for words, store in stores_of(folder).items():
        plan, written = store.plan(), store.rows()
        current = standing(written)
        rows |= {(words, key) for key, row in written.items() if isinstance(row, ScoredRow)}
        for entry in plan.entries:
            subject, row = plan.subjects[entry.subject], current.get(entry.row)
            place = Place(words, named(subject), entry.explainer, entry.attack, entry.metric)
            if isinstance(row, ScoredRow):
                base = written[key_of(row)]
                shown[place] = published(row, base if isinstance(base, ScoredRow) else row)
                if entry.explainer and entry.attack and not subject.baseline:
                    audited.add(place)
    return Numbers(shown=shown, rows=frozenset(rows), must_be_audited=frozenset(audited))


def named(subject: SubjectEntry) -> str:
    """A row of a table in words, with its seed."""
    return subject.label if subject.seed is None else f"{subject.label} (seed {subject.seed})"


def published(row: ScoredRow, base: ScoredRow) -> Published:
    """What tables show of a row.

    Args:
        row: that stands.
        base: as the run wrote it.
    """
    return Published(
        row=base.fingerprint,
        mean=row.mean,
        ci=row.ci,
        images=row.n,
        defined=row.n_defined,
        feasible=row.n_feasible,
        scores_sha256=row.scores_sha256,
        base_sha256=base.scores_sha256,
        weights=row.cell.checkpoint_sha256,
        higher_is_better=row.metric.higher_is_better,
        flags=None if row.flags is None else tuple((flag.name, flag.reason) for flag in row.flags),
        contests=row.contests,
    )
