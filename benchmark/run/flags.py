"""Which rows carry what an audit found: one audit for each network and explainer, whatever attacks them.

A flag is no score, so the audit's sources are not among those that decide a cell: another audit computes no score
again. But no flag outlives the audit that raised it: a row names the sources of its audit, and where they are others
now, the network is audited again and the row written again, with its old scores and new flags. Flags that a row
carries are not found again: rows computed later take them from there. Where no row carries them yet, they are in a file
of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from msgspec.structs import replace

from attrobust.benchmark.executors.jobs import AuditJob, CellJob, NetworkJob
from attrobust.benchmark.store.provenance import EVALUATION, code_digest, source_digest
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.naming.spec import fingerprint
from attrobust.types import Cell, Flag

DECISIVE = ("subject", "data_sha256", "explainer", "threat", "label", "reduction", "seed")
"""What of a cell decides its flags, the network and the sources apart."""
EARLY = 1e9
"""Cost of an audit: more than any batch, so that it is begun before the cells that wait for it."""


def audit_key(network: NetworkJob, cell: Cell) -> str:
    """The key of the audit whose flags the rows of a cell carry."""
    facts = asdict(cell)
    return fingerprint(["audit", network.key, {name: facts[name] for name in DECISIVE}])


def found_by(cell: Cell, explainer: type, images_sha256: str) -> str:
    """The key of what an audit found, by which later runs find it: with the weights, and all sources that decide it.

    Args:
        cell: that carries the flags, with the hash of the weights.
        explainer: class of the explainer.
        images_sha256: of the images that are audited.
    """
    facts = asdict(cell) | {"data_sha256": images_sha256}
    decisive = {name: facts[name] for name in (*DECISIVE, "checkpoint_sha256")}
    return fingerprint(["audit", decisive, code_digest(EVALUATION, [explainer]), _sources()])


def audit_of(job: CellJob, networks: Sequence[NetworkJob]) -> AuditJob | None:
    """The audit whose flags the rows of a cell carry; None where they carry none.

    Args:
        job: of the cell.
        networks: all that decide which cells can be computed, without which it is not known whether one needs flags.
    """
    if not job.audit or job.explainer is None:
        return None
    return AuditJob(
        key=job.audit,
        needs=tuple(network.key for network in networks),
        label=f"{job.group} / {job.explainer.label} / audit",
        cost=EARLY,
        group=job.group,
        network=job.network,
        explainer=job.explainer,
        cell=job.cell,
        split=job.split,
    )


def audited(row: ScoredRow, flags: tuple[Flag, ...]) -> ScoredRow:
    """A row with what its audit found."""
    return replace(row, flags=flags, audit=_sources())


def is_current(row: ScoredRow) -> bool:
    """Whether a row carries the flags of the audit as it is now."""
    return row.flags is not None and row.audit == _sources()


def _sources() -> str:
    return source_digest(("benchmark/audit",))
