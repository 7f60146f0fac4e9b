"""A run on disk: rows as JSON lines, per-image scores beside them, nothing half-written and nothing lost."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.store.arrays import PerImage, arrays_of
from attrobust.benchmark.store.lines import Lines, names_of
from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.rows import Row, ScoredRow
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.scores import ScoreFiles
from attrobust.benchmark.store.upgrade import FEASIBLE, OtherVersionError, feasible_of, read_plan
from attrobust.files import UNFINISHED, write_atomically
from attrobust.naming.validate import MisfitError, as_json, parsed
from attrobust.types import UsageError

SWEEP = "sweep.json"
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex")
PAGE = "leaderboard.html"
"""Written where it is asked for."""
AGAIN = "delete it or choose another --out, and run the benchmark again"
ROW_START = b'{"cell":'
"""How every line of rows starts, its keys being sorted."""


class Store:
    """The folder of one run: ``run.json``, ``rows.jsonl``, ``scores/``, ``checkpoints/`` and the tables.

    Args:
        folder: made on first write.
        version: what tables call the run, where they show it beside others; empty for no name.

    Attributes:
        folder, version: as above.
        scores: the files of per-image scores.
    """

    def __init__(self, folder: Path, version: str = "") -> None:
        self.folder, self.version = folder, version
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
        """Keep other processes from writing this run; raises UsageError where one already does."""
        lock = FileLock(self.folder / ".lock", timeout=0)
        self.check_ours()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UsageError(f"another process is writing {self.folder}; wait for it or choose another --out") from None
        except OSError as error:
            raise UsageError(f"--out {self.folder} cannot be written: {error.strerror}") from error
        try:
            self._sweep()
            yield
        except BaseException:
            self._remove_unfinished()
            raise
        finally:
            lock.release()

    def rows(self) -> dict[str, Row]:
        """All whole rows by fingerprint, of every schema that is read; where one was written again, the newest."""
        found: dict[str, Row] = {}
        lines = Lines()
        for where, line in self._lines():
            try:
                row = lines.row(line)
            except ValueError as error:
                _parsed(where, line)
                other = isinstance(error, OtherVersionError)
                hint = "choose another --out" if other else "remove that line to recompute it"
                raise UsageError(f"{where} is no row of schema {SCHEMA} ({error}); {hint}") from error
            found[row.fingerprint] = row
        return found

    def misnamed(self) -> set[str]:
        """Fingerprints of rows that are not those of their cell and metric, word for word as they are written."""
        found: dict[str, bool] = {}
        for where, line in self._lines():
            try:
                key, again = names_of(line)
            except ValueError as error:
                raise _damaged(where, error) from error
            found[key] = again != key
        return {key for key, wrong in found.items() if wrong}

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """Where every whole line of the rows stands, and what it says."""
        path = self.folder / "rows.jsonl"
        if path.is_file():
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.endswith(b"\n"):
                        yield f"{path} line {number}", line

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows at the end; they have reached the disk when this returns, and none is left when it fails."""
        path = self.folder / "rows.jsonl"
        data = b"".join(
            json.dumps(as_json(row.signed()), sort_keys=True, allow_nan=False).encode() + b"\n" for row in rows
        )
        with path.open("ab") as file:
            length = file.tell()
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), length)
                raise

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
            UsageError: the file is missing or is not the one the row was written with.
        """
        arrays = self._arrays(row, ("scores", *FEASIBLE, "worst", "members"))
        known = "worst" in arrays
        return PerImage(
            scores=arrays["scores"],
            feasible=feasible_of(arrays),
            worst=arrays["worst"] if known else np.zeros(0, dtype=np.int64),
            members=arrays["members"].tolist() if known else [],
        )

    def load_scores(self, row: ScoredRow) -> tuple[Floats, Booleans]:
        """The scores and ``feasible`` alone, see ``load``."""
        arrays = self._arrays(row, ("scores", *FEASIBLE))
        return arrays["scores"], feasible_of(arrays)

    def has_scores(self, row: ScoredRow) -> bool:
        """Whether the scores of a row are on disk, unchanged."""
        data = self.scores.read(row.fingerprint)
        return data is not None and hashlib.sha256(data).hexdigest() == row.scores_sha256

    def write_plan(self, plan: Plan) -> None:
        """Record what was asked for last; the tables of the run show this."""
        write_atomically(self.folder / "run.json", json.dumps(as_json(plan), indent=2, sort_keys=True) + "\n")

    def plan(self) -> Plan:
        """What was asked for last; raises UsageError where the folder holds no run."""
        path = self.folder / "run.json"
        if not path.is_file():
            raise UsageError(f"{self.folder} holds no run: there is no {path.name} in it")
        try:
            value = parsed(path.read_bytes())
        except ValueError as error:
            raise UsageError(f"{path} is damaged ({error}); {AGAIN}") from error
        try:
            plan = read_plan(value)
        except OtherVersionError as error:
            raise UsageError(
                f"{path} is of another version ({error}); run the benchmark again with another --out"
            ) from error
        except MisfitError as error:
            raise UsageError(f"{path} is no plan ({error}); {AGAIN}") from error
        if any(entry.subject not in range(len(plan.subjects)) for entry in plan.entries):
            raise UsageError(f"{path} is no plan (entries of no subject); {AGAIN}")
        return plan

    def _arrays(self, row: ScoredRow, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        return arrays_of(self._scores_of(row), names)

    def _scores_of(self, row: ScoredRow) -> bytes:
        path, data = self.scores.path(row.fingerprint), self.scores.read(row.fingerprint)
        if data is None:
            raise UsageError(f"{path} is missing: run the benchmark again to recompute it")
        if hashlib.sha256(data).hexdigest() != row.scores_sha256:
            raise UsageError(f"{path} is not the file its row was written with: delete it and run the benchmark again")
        return data

    def check_ours(self) -> None:
        """Raise UsageError where the folder holds files that a run would overwrite and that no run wrote."""
        names = ["rows.jsonl", "run.json", "log.txt", PAGE, *TABLES]
        if any((self.folder / name).exists() and not (self.folder / name).is_file() for name in names):
            raise UsageError(f"--out {self.folder} holds a folder where a run keeps a file; choose another --out")
        if (self.folder / "run.json").is_file():
            self.plan()
        elif (
            any((self.folder / name).exists() for name in (PAGE, *TABLES))
            and not (self.folder / "rows.jsonl").is_file()
        ):
            raise UsageError(f"--out {self.folder} holds a leaderboard but no run; choose another --out")
        rows = self.folder / "rows.jsonl"
        if rows.is_file():
            with rows.open("rb") as file:
                start = file.read(len(ROW_START))
            if not ROW_START.startswith(start):
                raise UsageError(f"{rows} was not written by a run; choose another --out")

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
        """Remove temporary files, of worker processes that were ended among them."""
        for path in self.folder.rglob(f".*{UNFINISHED}"):
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what a killed process left: temporary files, and the torn last line of the rows."""
        self._remove_unfinished()
        path = self.folder / "rows.jsonl"
        if path.is_file() and not _ends_in_newline(path):
            whole = path.read_bytes()
            write_atomically(path, whole[: whole.rfind(b"\n") + 1])


def _ends_in_newline(path: Path) -> bool:
    """Whether a file is empty or its last line is whole."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _parsed(where: str, line: bytes) -> Any:
    try:
        return parsed(line)
    except ValueError as error:
        raise _damaged(where, error) from error


def _damaged(where: str, error: ValueError) -> UsageError:
    return UsageError(f"{where} is damaged ({error}); remove that line to recompute it")
