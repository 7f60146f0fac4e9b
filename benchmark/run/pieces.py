"""Parts of cells: which are on disk, what is left to compute, and whole cells made of them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import msgspec
import numpy as np
import torch

from attrobust.benchmark.evaluation.scores import Scores, joined
from attrobust.benchmark.executors.jobs import BatchJob, BatchPart, BatchResult, CellJob, PartScores
from attrobust.benchmark.run.cells import rows_of
from attrobust.benchmark.run.coverage import Stretch, stretches, usable
from attrobust.benchmark.store.pieces import Piece, Pieces
from attrobust.benchmark.store.rows import MetricFacts, PassCounts, Provenance, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.naming.spec import fingerprint
from attrobust.networks.passes import Passes
from attrobust.types import Cell, SplitName

Identify = Callable[[SplitName, int], str]
"""The hash of the first images of a split, see ``evaluation_sha256``."""


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the files of a cell are called, the same for any number of images of the split, and keys of its metrics."""

    name: str
    metrics: tuple[str, ...]


class CellParts:
    """What is known of the cells of a run, image by image.

    Args:
        store: of the run.
        rows: of the run, by fingerprint, as they are whenever this is asked.
        identify: tells whether a row of fewer images is of the same ones.
    """

    def __init__(self, store: Store, rows: Mapping[str, Row], identify: Identify) -> None:
        self._store, self._rows, self._files = store, rows, Pieces(store.folder)
        self._identify = functools.cache(identify)
        self._facts: dict[tuple[str, str, str], _Facts] = {}
        self._pieces: dict[str, list[Piece]] = {}
        self._kept: dict[str, list[range]] = {}
        self._older: dict[str, dict[str, list[ScoredRow]]] = {}

    def left(self, job: BatchJob, lacking: Sequence[int]) -> tuple[BatchPart, ...]:
        """What is still to be computed of a batch, with the results of attacks that are kept; see ``stretches``."""
        name, parts = self._facts_of(job.whole).name, []
        for stretch in self.stretches(job, lacking):
            results = self._files.results(name, stretch.kept) if stretch.kept else b""
            there = (stretch.kept, results) if stretch.kept and results else None
            parts.append(BatchPart(rows=stretch.rows, metrics=stretch.lacking, known=there))
        return tuple(parts)

    def stretches(self, job: BatchJob, lacking: Sequence[int]) -> list[Stretch]:
        """The images of a batch that are still to be attacked or scored.

        Args:
            job: with the hashes of weights filled in.
            lacking: the metrics that have no row, by their position in the cell.
        """
        cell, keys = job.whole, self._facts_of(job.whole).metrics
        total, together = cell.cell.images, cell.cell.batch_size
        covered = {
            index: usable(itertools.starmap(range, self._known(cell, keys[index])), total, together)
            for index in lacking
        }
        return stretches(job.rows, covered, usable(self._kept_of(cell), total, together))

    def take_in(self, job: BatchJob, result: BatchResult) -> None:
        """Write what was computed of a batch."""
        facts = self._facts_of(job.whole)
        pieces, kept = self._pieces_of(job.whole), self._kept_of(job.whole)
        for done in result.parts:
            if done.attacked:
                self._files.keep(facts.name, done.part.rows, done.attacked)
                kept.append(done.part.rows)
            piece = _piece(done, facts.metrics)
            if piece.scores:
                self._files.save(facts.name, piece)
                pieces.append(piece)

    def whole(self, job: CellJob, index: int) -> tuple[Scores, float, Provenance] | None:
        """The scores of one metric, how long they took and who computed the last of them; None where some are missing.

        Raises:
            ValueError: an attack had other members for some images.
        """
        key = self._facts_of(job).metrics[index]
        known = self._known(job, key)
        chosen = usable(itertools.starmap(range, known), job.cell.images, job.cell.batch_size)
        if sum(map(len, chosen)) < job.cell.images:
            return None
        found = [known[part.start, part.stop] for part in chosen]
        parts = [_piece_of(item, key, self._store) if isinstance(item, ScoredRow) else item for item in found]
        return joined([_scores(part, key) for part in parts]), sum(part.seconds for part in parts), parts[-1].provenance

    def forget(self, job: CellJob) -> None:
        """Remove the pieces of a cell whose rows are written."""
        name = self._facts_of(job).name
        for known in (self._pieces, self._kept, self._older):
            known.pop(name, None)
        self._files.forget(name)

    def _facts_of(self, job: CellJob) -> _Facts:
        """Found once for all batches of a cell."""
        place = job.key, job.cell.checkpoint_sha256, job.cell.source_model_sha256
        if place not in self._facts:
            metrics = tuple(metric_key(facts) for _, facts in rows_of(job))
            self._facts[place] = _Facts(name=name_of(job.cell, job.split_sha256), metrics=metrics)
        return self._facts[place]

    def _known(self, job: CellJob, metric: str) -> dict[tuple[int, int], Piece | ScoredRow]:
        """By the images that they are of, what has the scores of a metric: pieces, and rows of as many or fewer."""
        rows = self._older_of(job).get(metric, [])
        found: dict[tuple[int, int], Piece | ScoredRow] = {(0, row.cell.images): row for row in rows}
        for piece in self._pieces_of(job):
            if metric in piece.scores:
                found[piece.rows.start, piece.rows.stop] = piece
        return found

    def _pieces_of(self, job: CellJob) -> list[Piece]:
        name = self._facts_of(job).name
        if name not in self._pieces:
            self._pieces[name] = self._files.of(name)
        return self._pieces[name]

    def _kept_of(self, job: CellJob) -> list[range]:
        """The images whose attack is kept."""
        name = self._facts_of(job).name
        if name not in self._kept:
            self._kept[name] = self._files.kept(name) if job.attack else []
        return self._kept[name]

    def _older_of(self, job: CellJob) -> dict[str, list[ScoredRow]]:
        """By metric, rows of as many or fewer of the same images."""
        facts = self._facts_of(job)
        if facts.name not in self._older:
            found: dict[str, list[ScoredRow]] = {}
            for row in self._alike.get(_apart_from_images(job.cell), []):
                key = metric_key(row.metric)
                if key in facts.metrics and row.cell.images <= job.cell.images and self._same_images(job, row):
                    found.setdefault(key, []).append(row)
            self._older[facts.name] = found
        return self._older[facts.name]

    def _same_images(self, job: CellJob, row: ScoredRow) -> bool:
        same = self._identify(job.split, row.cell.images) == row.cell.data_sha256
        return same and self._store.has_scores(row)

    @functools.cached_property
    def _alike(self) -> dict[str, list[ScoredRow]]:
        """Rows on disk when this is first asked, by everything that decides their scores but the images."""
        found: dict[str, list[ScoredRow]] = {}
        for row in self._rows.values():
            if isinstance(row, ScoredRow) and row.cell.images:
                found.setdefault(_apart_from_images(row.cell), []).append(row)
        return found


def name_of(cell: Cell, split_sha256: str) -> str:
    """What the files of a cell are called, whose images are the first of a split."""
    return fingerprint(asdict(replace(cell, images=0, data_sha256=split_sha256)))


def metric_key(facts: MetricFacts) -> str:
    """Fingerprint of what decides a metric's value."""
    return fingerprint({"name": facts.name, "settings": facts.settings, "plugin": facts.plugin})


def _apart_from_images(cell: Cell) -> str:
    return fingerprint(asdict(replace(cell, images=0, data_sha256="")))


def _piece(done: PartScores, keys: Sequence[str]) -> Piece:
    """The metrics of a part that did not fail."""
    scores = done.scores
    columns = zip(done.part.metrics, scores.values, scores.worst, strict=True)
    return Piece(
        rows=done.part.rows,
        scores={
            keys[index]: (values.numpy(), worst.numpy())
            for position, (index, values, worst) in enumerate(columns)
            if position not in scores.failures
        },
        feasible=scores.feasible.numpy(),
        members=scores.members,
        passes=PassCounts(**asdict(scores.passes)),
        seconds=done.seconds,
        provenance=done.provenance,
    )


def _piece_of(row: ScoredRow, key: str, store: Store) -> Piece:
    found = store.load(row)
    return Piece(
        rows=range(row.cell.images),
        scores={key: (found.scores, found.worst if len(found.worst) else np.full(len(found.scores), -1))},
        feasible=found.feasible,
        members=tuple(found.members),
        passes=row.passes,
        seconds=row.seconds,
        provenance=row.provenance,
    )


def _scores(piece: Piece, key: str) -> Scores:
    """The scores of one metric of a piece."""
    values, worst = piece.scores[key]
    return Scores(
        values=[torch.from_numpy(values)],
        worst=[torch.from_numpy(worst)],
        members=piece.members,
        feasible=torch.from_numpy(piece.feasible),
        passes=Passes(**msgspec.structs.asdict(piece.passes)),
    )
