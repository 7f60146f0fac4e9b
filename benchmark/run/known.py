"""Which rows of cells are on disk; what takes long is found out once in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrobust.benchmark.executors.jobs import CellJob
from attrobust.benchmark.run.cells import rows_of
from attrobust.benchmark.store.rows import Row, ScoredRow
from attrobust.benchmark.store.store import Store


class KnownRows:
    """The rows of a run, looked up by cell. Cells have the hashes of weights filled in, and all their metrics.

    Args:
        store: of the run.
        rows: of the run, by fingerprint, as they are whenever this is asked.
    """

    def __init__(self, store: Store, rows: Mapping[str, Row]) -> None:
        self._store, self._rows = store, rows
        self._sound: set[tuple[str, str]] = set()
        self._keys: dict[tuple[str, str, str], list[str]] = {}

    def keys(self, job: CellJob) -> list[str]:
        """Fingerprints of the rows of a cell; found once for all of its batches."""
        place = job.key, job.cell.checkpoint_sha256, job.cell.source_model_sha256
        if place not in self._keys:
            self._keys[place] = [key for key, _ in rows_of(job)]
        return self._keys[place]

    def of(self, job: CellJob) -> Sequence[Row | None]:
        """The row of every metric of a cell, where there is one."""
        return [self._rows.get(key) for key in self.keys(job)]

    def lacking(self, job: CellJob) -> tuple[int, ...]:
        """The metrics of a cell whose row is absent, failed or without scores, by their position."""
        return tuple(
            index
            for index, row in enumerate(self.of(job))
            if not isinstance(row, ScoredRow) or not self._has_scores(row)
        )

    def _has_scores(self, row: ScoredRow) -> bool:
        """Whether the scores of a row are there; found once, and not for every batch of its cell."""
        place = row.fingerprint, row.scores_sha256
        if place not in self._sound and self._store.has_scores(row):
            self._sound.add(place)
        return place in self._sound
