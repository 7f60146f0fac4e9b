"""What runs in a worker process: jobs come in through a connection, results and log records go out."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attrobust.benchmark.executors.base import Job, Result, one_line
from attrobust.benchmark.executors.jobs import failed
from attrobust.naming.file_names import real
from attrobust.types import SplitName, UsageError

LOG = logging.getLogger("attrobust")


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plug-in file of the run.

    Attributes:
        path: where it lies.
        sha256: of it.
        module: what pickled objects call it.
    """

    path: Path
    sha256: str
    module: str


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker process is made with, as data that can be pickled before a plug-in is loaded.

    Attributes:
        plugins: files to be loaded first.
        request: of the run, pickled.
        device: to compute on.
        threads: of the CPU.
        splits: the sha256 that images must have which were read elsewhere.
        out: a folder in place of the run's, where that is out of reach.
        copies: of users' files that are out of reach, by the paths that the request has for them.
    """

    plugins: tuple[Plugin, ...]
    request: bytes
    device: str
    threads: int
    splits: Mapping[SplitName, str] = field(default_factory=dict)
    out: Path | None = None
    copies: Mapping[Path, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A job has been carried out."""

    result: Result


@dataclass(frozen=True, kw_only=True)
class Said:
    """A record for the log: level, text, and whether it is for the file only."""

    level: int
    text: str
    file_only: bool


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A mistake of the user's ends the run; or the process cannot go on."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The process can be given jobs."""


Message = Done | Said | Refused | Ready
Send = Callable[[Message], None]


def heard(message: Message) -> Result | None:
    """Take in a message of a worker: the result that it brings, if any; a record goes to the log.

    Raises:
        UsageError: a mistake of the user's, or the worker cannot go on.
    """
    if isinstance(message, Refused):
        raise UsageError(message.reason)
    if isinstance(message, Said):
        LOG.log(message.level, "%s", message.text, extra={"file_only": message.file_only})
    return message.result if isinstance(message, Done) else None


class _Unseen(io.TextIOWrapper):
    """A standard error that bars take for no terminal: they would be drawn over the bar of the command."""

    def isatty(self) -> bool:
        """Never."""
        return False


def serve(connection: Connection, setup: Setup) -> None:
    """Carry out jobs until the connection is closed.

    Args:
        connection: of which jobs are received, and messages sent.
        setup: of the process.
    """
    sys.stderr = _Unseen(os.fdopen(os.dup(2), "wb", buffering=0), line_buffering=True, write_through=True)
    # What plug-ins print must not stand among the tables.
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    # A lock between processes, which tqdm makes of itself, would be said to leak when this one is ended.
    tqdm.set_lock(threading.RLock())
    send = _Sender(connection).send
    worker = started(setup, send)
    while worker is not None:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            message = carried_out(worker, job)
        except KeyboardInterrupt as error:  # of a plug-in: Ctrl-C is ignored here
            message = Done(result=failed(job, one_line(error)))
        send(message)


def started(setup: Setup, send: Send) -> Callable[[Job], Result] | None:
    """What carries out jobs in this process, which is said to be ready; None, and the reason is said, where it cannot.

    Args:
        setup: of the process.
        send: takes messages for the driver.
    """
    from attrobust.process import contained

    try:
        with contained():
            worker = make_worker(setup, send)
    except UsageError as error:
        send(Refused(reason=str(error)))
        return None
    except Exception as error:
        LOG.error("a worker process cannot start\n%s", traceback.format_exc(), extra={"file_only": True})
        send(Refused(reason=f"a worker process cannot start: {type(error).__name__}: {error}"))
        return None
    send(Ready())
    return worker


def carried_out(worker: Callable[[Job], Result], job: Job) -> Message:
    """What to tell the driver of a job."""
    try:
        return Done(result=worker(job))
    except UsageError as error:
        return Refused(reason=str(error))


def make_worker(setup: Setup, send: Send) -> Callable[[Job], Result]:
    """What carries out jobs in this process, with images read and plug-ins loaded here.

    Raises:
        UsageError: a plug-in file is not what it was, or the images cannot be read or are others.
    """
    from attrobust.benchmark.request.plugins import load_plugin
    from attrobust.benchmark.store.provenance import file_digest
    from attrobust.process import flush_in_all_threads, keep_freed_memory

    flush_in_all_threads()
    keep_freed_memory()
    for plugin in setup.plugins:
        path = setup.copies.get(plugin.path, plugin.path)
        load_plugin(plugin.path, module=plugin.module, copy=path)
        if file_digest(real(path)) != plugin.sha256:
            raise UsageError(f"{plugin.path} changed during the run; run the same command again")

    import torch

    from attrobust.benchmark.data.checks import load_dataset
    from attrobust.benchmark.executors.worker import Worker

    torch.set_num_threads(setup.threads)
    warnings.filterwarnings("ignore", message="Setting .* hooks", module=r"captum\.")
    request = replace(pickle.loads(setup.request), device=torch.device(setup.device))
    request = replace(request, out=setup.out or request.out)
    data = load_dataset(request.dataset.item, request.data_root, request.dataset.label)
    for name, sha256 in setup.splits.items():
        if data.splits[name].sha256 != sha256:
            raise UsageError(
                f"the {name} images of {request.dataset.label} are others here than the run's; copy its data "
                "to where --data-root says on every machine"
            )
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    LOG.addHandler(_Sending(send))
    return Worker(request, data, setup.copies)


class _Sender:
    """Sends messages from several threads, one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message; where nobody receives any more, this process ends."""
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(1)


class _Sending(logging.Handler):
    """Hands log records to the driver."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        extra: dict[str, Any] = vars(record)
        said = Said(level=record.levelno, text=self.format(record), file_only=bool(extra.get("file_only")))
        self._send(said)
