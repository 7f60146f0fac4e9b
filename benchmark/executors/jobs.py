"""The jobs of a run: obtain a network, compute a cell or a batch of one, audit an explainer, examine a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from attrobust.attacks.base import Attack
from attrobust.benchmark.checkpoints.claims import Finding
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.evaluation.scores import Scores
from attrobust.benchmark.executors.base import Job, Result
from attrobust.benchmark.store.rows import Provenance, Ways
from attrobust.benchmark.training.job import TrainingJob
from attrobust.explainers.base import Explainer
from attrobust.metrics.base import Metric
from attrobust.naming.component import Component
from attrobust.types import Cell, Flag, Scope, SplitName

Source = TrainingJob | ExternalCheckpoint | Untrained
"""How a network is made."""


@dataclass(frozen=True, kw_only=True)
class NetworkJob(Job):
    """Obtain a network: trained now where it has no weights yet.

    Attributes:
        source: how it is made.
        lent: whether attacks on other networks use it; it is then opened once and stays in memory.
        unavailable: why there is none, of a row that nothing could be chosen for; empty for all others.
    """

    source: Source
    lent: bool = False
    unavailable: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkResult(Result):
    """A network that can be opened, or why there is none.

    Attributes:
        sha256: of its weights; empty where there is none.
    """

    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class CellJob(Job):
    """Compute the scores of one cell.

    Attributes:
        network: what is measured.
        source_model: the other network that the attack uses, if any.
        cell: what decides the scores; without the hashes of weights until both networks are there.
        split, split_sha256: whose images, and the hash of all of them.
        metrics: of one scope; none where what is measured is accuracy, which has no explainer either.
        explainer, attack: as far as there is one.
        audit: key of the audit whose flags the rows carry; empty where they carry none.
        batches: keys of the jobs that compute it in parts; none where it is computed as a whole.
        wording: by part of the cell, what its label has to say, see ``store.rows.Ways``.
        guessing: for clean accuracy, the share of the images that are of their most frequent class.
    """

    network: NetworkJob
    source_model: NetworkJob | None = None
    cell: Cell
    split: SplitName
    split_sha256: str
    metrics: tuple[Component[Metric], ...]
    explainer: Component[Explainer] | None = None
    attack: Component[Attack] | None = None
    audit: str = ""
    batches: tuple[str, ...] = ()
    wording: dict[str, Ways] = field(default_factory=dict)
    guessing: float | None = None

    @property
    def scope(self) -> Scope | Literal["accuracy"]:
        """What is measured: accuracy, clean or under attack, or metrics of a scope."""
        return type(self.metrics[0].item).scope if self.metrics else "accuracy"


@dataclass(frozen=True, kw_only=True)
class CellResult(Result):
    """The scores of one cell, or why there are none; ``error`` also where only some metrics have none.

    Attributes:
        scores: of every image and metric; None where the cell failed.
        seconds: that it took.
        provenance: what computed it; None where nothing was computed.
    """

    scores: Scores | None = None
    seconds: float = 0.0
    provenance: Provenance | None = None


@dataclass(frozen=True, kw_only=True)
class BatchPart:
    """Images of a batch to be scored by the same metrics.

    Attributes:
        rows: their positions.
        metrics: positions of the metrics in the cell.
        known: the images whose attack is known, and its results, see ``evaluation.kept``.
    """

    rows: range
    metrics: tuple[int, ...]
    known: tuple[range, bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class BatchJob(Job):
    """Compute the scores of some images of a cell.

    Attributes:
        whole: the cell.
        rows: positions of the images.
        parts: what is left of them; filled in when that is known.
        keeps: whether results of the attack are kept.
        together: images of a batch that is not the last.
    """

    whole: CellJob
    rows: range
    together: int
    parts: tuple[BatchPart, ...] = ()
    keeps: bool = True


@dataclass(frozen=True, kw_only=True)
class RetrainingJob(Job):
    """Train one of the networks that a cell of a retraining metric needs, so that they need not come one by one.

    Attributes:
        whole: the cell.
        number: of the training among those of the metric, from 0.
    """

    whole: CellJob
    number: int


@dataclass(frozen=True, kw_only=True)
class PartScores:
    """What was computed of a part.

    Attributes:
        part: which.
        scores: of every image and metric of the part.
        seconds: that it took.
        provenance: what computed it.
        attacked: results of the attack to be kept; empty where there are none that are new.
    """

    part: BatchPart
    scores: Scores
    seconds: float
    provenance: Provenance
    attacked: bytes = b""


@dataclass(frozen=True, kw_only=True)
class BatchResult(Result):
    """The scores of a batch, as far as there are any: where ``error`` says something, the part after them failed."""

    parts: tuple[PartScores, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AuditJob(Job):
    """Try out a network with an explainer.

    Attributes:
        network: that attacks meet.
        explainer: whose maps they move.
        cell: one of those that carry the flags.
        split: whose images are looked at.
    """

    network: NetworkJob
    explainer: Component[Explainer]
    cell: Cell
    split: SplitName


@dataclass(frozen=True, kw_only=True)
class AuditResult(Result):
    """What an audit found, and how many seconds it took."""

    flags: tuple[Flag, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ClaimJob(Job):
    """Hold a user's checkpoint against what is claimed of it, and against guessing.

    Attributes:
        network: of the user.
        checkpoint: where it comes from.
        hits: for each test image, whether it is classified right; filled in when that has been computed.
    """

    network: NetworkJob
    checkpoint: ExternalCheckpoint
    hits: tuple[bool, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClaimResult(Result):
    """How good a user's network is and what is odd about that."""

    finding: Finding


def failed(job: Job, reason: str) -> Result:
    """The result of a job that nobody could carry out, for a reason in one line."""
    if isinstance(job, NetworkJob):
        return NetworkResult(error=reason)
    if isinstance(job, BatchJob):
        return BatchResult(error=reason)
    return CellResult(error=reason) if isinstance(job, CellJob) else Result(error=reason)
