"""What runs on a node of a cluster: jobs come in, and with results come files that the run's folder lacks.

A node that sees the run's folder works in it. One that does not has a folder of its own, into which files that a job
needs are written before it, and from which files that a job has made are handed back.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from attrobust.benchmark.executors.base import Job, Result
from attrobust.benchmark.executors.process import Message, Refused, Setup, carried_out, started
from attrobust.benchmark.store.provenance import source_digest, versions
from attrobust.files import write_atomically
from attrobust.places import CORE, ROOMS

MADE = {"checkpoints": (".pt", ".toml"), "retrainings": (".hits",)}
"""By folder of a run, the files that jobs make in it, in the order in which they are to be written."""
TOKEN = ".token"
"""File in the run's folder by which a node knows that it sees that folder."""
SCRATCH = "ATTROBUST_SCRATCH"
"""Variable of a node's environment: the folder for files of its own, which it uses instead of the run's."""
PREFIX, LOCK = "attrobust-node-", ".lock"
"""Names of the folder of a process, and of the file in it that says that the process is alive."""
LATE = 60.0
"""Seconds after which a file of another node is there, on a file system that several machines share."""

Files = Mapping[str, bytes]
"""Content of files by their path in the folder of the run."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What must be the same everywhere, since it decides numbers.

    Attributes:
        versions: of this package, Python and the libraries that compute.
        sources: digest of the sources of this package.
    """

    versions: dict[str, str]
    sources: str

    @classmethod
    def here(cls) -> Facts:
        """Those of this process."""
        return cls(versions=versions(), sources=source_digest((CORE.name, *ROOMS)))

    def difference(self, other: Facts) -> str:
        """In what another machine differs, in words; empty where it does not."""
        for name, wanted in self.versions.items():
            found = other.versions.get(name, "")
            if found != wanted:
                return f"{name} is {wanted} here and {found or 'not installed'} there"
        return "" if self.sources == other.sources else "the sources of attrobust there are others"


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What is sent to a node to start with.

    Attributes:
        setup: of its processes.
        folder, token: of the run, and what its file ``TOKEN`` says.
        files: of the user, with their content.
    """

    setup: Setup
    folder: Path
    token: str
    files: tuple[tuple[Path, bytes], ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a node says after a job.

    Attributes:
        node: its name.
        sees: whether it sees the run's folder.
        messages: in their order; of a job that was carried out the last one is its result.
        files: that the job has made and that are in no folder that the driver sees.
    """

    node: str
    sees: bool
    messages: tuple[Message, ...]
    files: Files


class Node:
    """A process on a node, which carries out one job after the other. Nothing here waits for torch to be imported."""

    def __init__(self) -> None:
        self._said: list[Message] = []
        self._work: Callable[[Job], Result] | None = None
        self._own = Path()
        self._lock: FileLock | None = None
        self._folder = Path()
        self._sees = True
        self._known: set[str] = set()

    def start(self, facts: Facts, environment: Mapping[str, str], parcel: bytes) -> Answer:
        """Make what carries out jobs, or refuse.

        Args:
            facts: of the driver.
            environment: variables that decide how fast, and with which rounding, numbers are computed.
            parcel: a pickled ``Parcel``, which is opened only where facts are the same.
        """
        os.environ.update(environment)
        if difference := facts.difference(Facts.here()):
            self._said.append(Refused(reason=f"{difference}; install the same versions on all nodes"))
            return self._answer()
        content: Parcel = pickle.loads(parcel)
        self._own, self._lock = _own_folder()
        self._sees = SCRATCH not in os.environ and _sees(content.folder, content.token)
        self._folder = content.folder if self._sees else self._own / "run"
        copies = _written(content.files, self._own / "files")
        self._work = started(replace(content.setup, out=self._folder, copies=copies), self._said.append)
        return self._answer()

    def carry_out(self, job: bytes, names: Sequence[str], *contents: bytes) -> Answer:
        """Carry out a job.

        Args:
            job: pickled.
            names: of files that it needs and that were not named before, by their path in the folder of the run.
            contents: of these files, where the folder is not seen.
        """
        assert self._work is not None
        for path in [self._folder / name for name in names] if self._sees else ():
            _await(path)
        for name, content in zip(names, contents, strict=not self._sees):
            write_atomically(self._folder / name, content)
        self._known |= set(names)
        return self._answer(carried_out(self._work, pickle.loads(job)))

    def end(self) -> None:
        """Remove what was written for this process alone."""
        if self._lock is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            self._lock.release()

    def _answer(self, *last: Message) -> Answer:
        messages = [*self._said, *last]
        self._said.clear()
        return Answer(
            node=socket.gethostname(),
            sees=self._sees,
            messages=tuple(map(_with_node, messages)),
            files={} if self._sees else self._made(),
        )

    def _made(self) -> Files:
        """The files that are new in the folder of this process."""
        found: dict[str, bytes] = {}
        for room, suffixes in MADE.items():
            paths = [path for suffix in suffixes for path in sorted((self._folder / room).glob(f"[!.]*{suffix}"))]
            names = {f"{room}/{path.name}": path for path in paths}
            found |= {name: path.read_bytes() for name, path in names.items() if name not in self._known}
        self._known |= set(found)
        return found


def _own_folder() -> tuple[Path, FileLock]:
    """A new folder of this process, locked until it ends; those of processes that have ended are removed."""
    parent = Path(os.environ.get(SCRATCH) or tempfile.gettempdir())
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        # It may be another user's, or be removed by another process at this moment.
        with contextlib.suppress(Timeout, OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent, ignore_errors=True)
    own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    held = FileLock(own / LOCK)
    held.acquire()
    return own, held


def _with_node(message: Message) -> Message:
    """A message, which says where something is refused."""
    if not isinstance(message, Refused):
        return message
    return Refused(reason=f"node {socket.gethostname()}: {message.reason}")


def _sees(folder: Path, token: str) -> bool:
    """Whether a folder of this machine is the run's, and can be written."""
    try:
        return (folder / TOKEN).read_text(encoding="utf-8") == token and os.access(folder, os.W_OK)
    except OSError:
        return False


def _written(files: Sequence[tuple[Path, bytes]], folder: Path) -> dict[Path, Path]:
    """Write a user's files; returns their copies by path. Files that lie side by side do so here too."""
    copies: dict[Path, Path] = {}
    parents = list(dict.fromkeys(path.parent for path, _ in files))
    for path, content in files:
        copies[path] = folder / str(parents.index(path.parent)) / path.name
        write_atomically(copies[path], content)
    return copies


def _await(path: Path) -> None:
    """Wait for a file that another machine has written: a shared file system may show it late."""
    end = time.monotonic() + LATE
    while not path.is_file() and time.monotonic() < end:
        time.sleep(0.2)
