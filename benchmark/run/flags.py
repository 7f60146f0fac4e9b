"""Which rows carry what an audit found: one audit for each network and explainer, whatever attacks them.

A flag is no score, so the audit's sources are not among those that decide a cell: another audit computes no score
again. But no flag outlives the audit that raised it: a row names the sources of its audit, and where they are others
now, the network is audited again and the row written again, with its old scores and new flags. Flags that a row
carries are not found again: rows computed later take them from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from attrobust.benchmark.executors.jobs import AuditJob, AuditResult, CellJob, NetworkJob
from attrobust.benchmark.store.provenance import source_digest
from attrobust.benchmark.store.store import Row
from attrobust.naming.spec import fingerprint
from attrobust.types import Cell

DECISIVE = ("subject", "data_sha256", "explainer", "threat", "label", "reduction", "seed")
"""What of a cell decides its flags, the network and the sources apart."""


def audit_key(network: NetworkJob, cell: Cell) -> str:
    """The key of the audit whose flags the rows of a cell carry."""
    facts = asdict(cell)
    return fingerprint(["audit", network.key, {name: facts[name] for name in DECISIVE}])


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
        group=job.group,
        network=job.network,
        explainer=job.explainer,
        cell=job.cell,
        split=job.split,
    )


def facts_of(result: AuditResult) -> dict[str, Any]:
    """What every row of a cell says of its audit: ``flags`` and the sources, ``audit``."""
    return {"flags": [asdict(flag) for flag in result.flags], "audit": _sources()}


def is_current(row: Row) -> bool:
    """Whether a row carries the flags of the audit as it is now."""
    return "flags" in row and bool(row.get("audit") == _sources())


def _sources() -> str:
    return source_digest(("benchmark/audit",))
