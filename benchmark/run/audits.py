"""The flags of the networks of a run: found by an audit of this run, of an earlier one, or on rows that carry them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from attrobust.benchmark.audit.case import IMAGES
from attrobust.benchmark.executors.jobs import AuditJob, AuditResult, CellJob
from attrobust.benchmark.run.flags import found_by, is_current
from attrobust.benchmark.run.known import KnownRows
from attrobust.benchmark.run.pieces import Identify
from attrobust.benchmark.store.audits import Audit, Audits
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.explainers.base import Explainer
from attrobust.naming.component import Component
from attrobust.types import Cell, Flag, SplitName

Flags = tuple[Flag, ...]


class KnownFlags:
    """What is known of the networks of a run, by the key of their audit.

    Args:
        store: of the run.
        known: its rows.
        identify: see ``CellParts``.
    """

    def __init__(self, store: Store, known: KnownRows, identify: Identify) -> None:
        self._files, self._known = Audits(store.folder), known
        # Images are read for it, the same for all audits of a run.
        self._identify = functools.cache(identify)
        self._flags: dict[str, Flags] = {}

    def of(self, audit: str) -> Flags | None:
        """The flags of an audit that has been found or made; None where there are none yet."""
        return self._flags.get(audit)

    def find(self, cells: Sequence[CellJob]) -> bool:
        """Whether what an audit found is on disk.

        Args:
            cells: that carry its flags, with the hashes of weights filled in.
        """
        for cell in cells:
            for row in self._known.of(cell):
                if isinstance(row, ScoredRow) and is_current(row):
                    self._flags[cell.audit] = row.flags or ()
                    return True
        first = cells[0] if cells else None
        if first is None or first.explainer is None or not first.cell.checkpoint_sha256:
            return False
        found = self._files.of(self._key(first.cell, first.explainer, first.split))
        if found is not None:
            self._flags[first.audit] = found.flags
        return found is not None

    def take_in(self, job: AuditJob, result: AuditResult) -> None:
        """Write what an audit found; it is on disk when this returns."""
        self._flags[job.key] = result.flags
        key = self._key(job.cell, job.explainer, job.split)
        self._files.save(Audit(key=key, flags=result.flags, seconds=round(result.seconds, 3)))

    def _key(self, cell: Cell, explainer: Component[Explainer], split: SplitName) -> str:
        """Of the images only those that are audited decide, so that a run of more images finds the same."""
        return found_by(cell, type(explainer.item), self._identify(split, min(IMAGES, cell.images)))
