"""A run on disk: rows as JSON lines, per-image scores beside them, nothing half-written and nothing lost."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.store.arrays import PerImage, arrays_of
from attrobust.benchmark.store.damage import DamagedError
from attrobust.benchmark.store.lines import document_of
from attrobust.benchmark.store.misplaced import WRITTEN, misplaced
from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.row_file import RowFile
from attrobust.benchmark.store.rows import Row, ScoredRow
from attrobust.benchmark.store.scores import ScoreFiles
from attrobust.benchmark.store.upgrade import FEASIBLE, OtherVersionError, feasible_of, read_plan
from attrobust.files import UNFINISHED, read_plain, write_atomically
from attrobust.naming.file_names import not_a_file
from attrobust.naming.validate import MisfitError, as_json, parsed
from attrobust.types import UsageError

SWEEP = "sweep.json"
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex")
PAGE = "leaderboard.html"
"""Written where it is asked for."""
NO_PLAN = "choose another --out, or let verify --repair set it aside and run the benchmark again"
"""What to do with a ``run.json`` that may be somebody else's."""
DELETE = "delete it and run the benchmark again"


class Store:
    """The folder of one run: ``run.json``, ``rows.jsonl``, ``scores/``, ``checkpoints/`` and the tables.

    Args:
        folder: made on first write.
        version: what tables call the run, where they show it beside others; empty for no name.

    Attributes:
        folder, version: as above.
        lines: the file of the rows.
        scores: the files of per-image scores.
    """

    def __init__(self, folder: Path, version: str = "") -> None:
        self.folder, self.version = folder, version
        self.lines = RowFile(folder / "rows.jsonl")
        self.scores = ScoreFiles(folder)

    @property
    def is_finished(self) -> bool:
        """Whether a run came to its end here, once."""
        return (self.folder / "run.json").is_file()

    @property
    def is_begun(self) -> bool:
        """Whether a run has written something here."""
        return any((self.folder / name).is_file() for name in ("run.json", "rows.jsonl", "log.txt"))

    @property
    def is_expected(self) -> bool:
        """Whether a run has begun here, or the sweep that it is to be part of."""
        return self.is_begun or (self.folder.parent / SWEEP).is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing this run, and remove what killed ones left.

        Raises:
            UsageError: another process writes it, or what is there is not as a run wrote it.
        """
        self.check_ours()
        with self.held():
            self._remove_unfinished()
            self.lines.mend_end()
            self.lines.check()
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing this run, whatever is there; raises UsageError where one already does."""
        path = self.folder / ".lock"
        if os.path.lexists(path) and (problem := "is a link, and no file" if path.is_symlink() else not_a_file(path)):
            raise UsageError(f"{path} {problem}; remove it")
        lock = FileLock(path, timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UsageError(f"another process is writing {self.folder}; wait for it or choose another --out") from None
        except OSError as error:
            taken = isinstance(error, FileExistsError)
            why = "it is a link that leads to no folder; choose another" if taken else error.strerror
            raise UsageError(f"--out {self.folder} cannot be written: {why}") from error
        try:
            yield
        except BaseException:
            self._remove_unfinished()
            raise
        finally:
            lock.release()

    def rows(self) -> dict[str, Row]:
        """See ``RowFile.rows``."""
        return self.lines.rows()

    def append(self, rows: Sequence[Row]) -> None:
        """See ``RowFile.append``."""
        self.lines.append(rows)

    def save_scores(
        self,
        fingerprint: str,
        scores: Floats,
        feasible: Booleans,
        worst: Integers | None = None,
        members: Sequence[str] = (),
    ) -> str:
        """Write the per-image scores of a row; returns the file's sha256.

        Args:
            fingerprint: of the row.
            scores: one for each image.
            feasible: whether the attack obeyed the rules.
            worst: which of ``members`` each score comes from, -1 for none of them; None where nothing attacked.
            members: names of what the attack is made of.
        """
        arrays: dict[str, np.ndarray[Any, Any]] = {"scores": scores, "feasible": feasible}
        if worst is not None:
            arrays |= {"worst": worst, "members": np.array(members, dtype=np.str_)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        data = buffer.getvalue()
        self.scores.write(fingerprint, data)
        return hashlib.sha256(data).hexdigest()

    def copy_scores(self, other: Store, row: ScoredRow) -> None:
        """Take the per-image scores of a row over from another run."""
        self.scores.write(row.fingerprint, other._scores_of(row))

    def load(self, row: ScoredRow) -> PerImage:
        """What was stored of a row for each image.

        Raises:
            UsageError: the file is missing, is not the one the row was written with, or holds something else.
        """
        return self._per_image(row, ("scores", *FEASIBLE, "worst", "members"))

    def load_scores(self, row: ScoredRow) -> tuple[Floats, Booleans]:
        """The scores and ``feasible`` alone, see ``load``."""
        found = self._per_image(row, ("scores", *FEASIBLE))
        return found.scores, found.feasible

    def has_scores(self, row: ScoredRow) -> bool:
        """Whether the scores of a row are on disk, unchanged."""
        data = self.scores.read(row.fingerprint)
        return data is not None and hashlib.sha256(data).hexdigest() == row.scores_sha256

    def write_plan(self, plan: Plan) -> None:
        """Record what was asked for last; the tables of the run show this."""
        write_atomically(self.folder / "run.json", document_of(as_json(plan)))

    def plan(self) -> Plan:
        """What was asked for last; raises UsageError where the folder holds no run."""
        path = self.folder / "run.json"
        if not path.is_file():
            raise UsageError(f"{self.folder} holds no run: there is no {path.name} in it")
        try:
            value = parsed(read_plain(path))
        except ValueError as error:
            raise DamagedError(path, f"is damaged ({error})", NO_PLAN) from error
        try:
            plan = read_plan(value)
        except OtherVersionError as error:
            raise UsageError(
                f"{path} is of another version ({error}); run the benchmark again with another --out"
            ) from error
        except MisfitError as error:
            raise DamagedError(path, f"is no plan ({error})", NO_PLAN) from error
        if any(entry.subject not in range(len(plan.subjects)) for entry in plan.entries):
            raise DamagedError(path, "is no plan (entries of no subject)", NO_PLAN)
        return plan

    @property
    def is_plan_as_dumped(self) -> bool:
        """Whether ``run.json`` is laid out as a run does it, byte for byte, whatever it says."""
        data = read_plain(self.folder / "run.json")
        return document_of(parsed(data)) == data

    def _per_image(self, row: ScoredRow, names: Sequence[str]) -> PerImage:
        data = self._scores_of(row)
        try:
            arrays = arrays_of(data, names, row.n)
            known = "worst" in arrays
            return PerImage(
                scores=arrays["scores"],
                feasible=feasible_of(arrays),
                worst=arrays["worst"] if known else np.zeros(0, dtype=np.int64),
                members=arrays["members"].tolist() if known else [],
            )
        except (ValueError, KeyError, StopIteration) as error:
            path = self.scores.path(row.fingerprint)
            raise UsageError(f"{path} holds no scores of images ({error}): {DELETE}") from error

    def _scores_of(self, row: ScoredRow) -> bytes:
        path, data = self.scores.path(row.fingerprint), self.scores.read(row.fingerprint)
        if data is None:
            raise UsageError(f"{path} is missing: run the benchmark again to recompute it")
        if hashlib.sha256(data).hexdigest() != row.scores_sha256:
            raise UsageError(f"{path} is not the file its row was written with: {DELETE}")
        return data

    def check_ours(self) -> None:
        """Raise UsageError where the folder holds files that a run would overwrite and that no run wrote."""
        for path, problem in misplaced(self.folder):
            raise UsageError(f"{path} {problem}; let verify --repair set it aside, or choose another --out")
        if os.path.lexists(self.folder / SWEEP):
            raise UsageError(f"--out {self.folder} holds a sweep; give this run another folder")
        if (self.folder / "run.json").is_file():
            self.plan()
        elif (
            any((self.folder / name).exists() for name in (PAGE, *TABLES))
            and not (self.folder / "rows.jsonl").is_file()
        ):
            raise UsageError(f"--out {self.folder} holds a leaderboard but no run; choose another --out")
        self.lines.check_ours()

    def check_shard(self, name: str) -> None:
        """Raise UsageError where the folder holds another shard of a run, or all of one, whose record would be lost.

        Args:
            name: of the shard that is to be written; empty for all of a run.
        """
        if not self.is_finished:
            return
        shard = self.plan().shard
        found = shard.name if shard else ""
        if found != name:
            holds = f"shard {found} of a run" if found else "all of a run"
            raise UsageError(
                f"--out {self.folder} holds {holds}; give {f'shard {name}' if name else 'this run'} another"
            )

    def _remove_unfinished(self) -> None:
        """Remove temporary files, of worker processes that were ended among them; runs in folders below keep theirs."""
        name = f".*{UNFINISHED}"
        for path in [*self.folder.glob(name), *(path for part in WRITTEN for path in (self.folder / part).rglob(name))]:
            path.unlink(missing_ok=True)
