"""What runs in a worker process: jobs come in through a connection, results and log records go out."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attrobust.benchmark.executors.base import Job, Result
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker process is made with, as data that can be pickled before a plug-in is loaded.

    Attributes:
        plugins: files to be loaded first, with their sha256.
        request: of the run, pickled.
        device: to compute on.
        threads: of the CPU.
    """

    plugins: tuple[tuple[Path, str], ...]
    request: bytes
    device: str
    threads: int


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


def serve(connection: Connection, setup: Setup) -> None:
    """Carry out jobs until the connection is closed, or the process that made this one is gone.

    Args:
        connection: of which jobs are received, and messages sent.
        setup: of the process.
    """
    # Ctrl-C reaches every process of a terminal; the driver ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TQDM_DISABLE"] = "1"
    # A lock between processes, which tqdm makes of itself, would be said to leak when this one is ended.
    tqdm.set_lock(threading.RLock())
    sender = _Sender(connection)
    try:
        worker = make_worker(setup, sender)
    except UsageError as error:
        sender.send(Refused(reason=str(error)))
        return
    except (Exception, SystemExit) as error:
        LOG.error("a worker process cannot start\n%s", traceback.format_exc(), extra={"file_only": True})
        sender.send(Refused(reason=f"a worker process cannot start: {type(error).__name__}: {error}"))
        return
    sender.send(Ready())
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            message: Message = Done(result=worker(job))
        except UsageError as error:
            message = Refused(reason=str(error))
        sender.send(message)


def make_worker(setup: Setup, sender: _Sender) -> Callable[[Job], Result]:
    """What carries out jobs in this process, with images read and plug-ins loaded here.

    Raises:
        UsageError: a plug-in file is not what it was, or the images cannot be read.
    """
    from attrobust.benchmark.request.plugins import load_plugin
    from attrobust.benchmark.store.provenance import file_digest
    from attrobust.process import flush_in_all_threads, keep_freed_memory

    flush_in_all_threads()
    keep_freed_memory()
    for path, sha256 in setup.plugins:
        load_plugin(path)
        if file_digest(path.resolve()) != sha256:
            raise UsageError(f"{path} changed during the run; run the same command again")

    import torch

    from attrobust.benchmark.data.checks import load_dataset
    from attrobust.benchmark.executors.worker import Worker

    torch.set_num_threads(setup.threads)
    warnings.filterwarnings("ignore", message="Setting .* hooks", module=r"captum\.")
    request = replace(pickle.loads(setup.request), device=torch.device(setup.device))
    data = load_dataset(request.dataset.item, request.data_root, request.dataset.label)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    LOG.addHandler(_Sending(sender))
    return Worker(request, data)


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

    def __init__(self, sender: _Sender) -> None:
        super().__init__()
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        extra: dict[str, Any] = vars(record)
        said = Said(level=record.levelno, text=self.format(record), file_only=bool(extra.get("file_only")))
        self._sender.send(said)


def _end_with_parent() -> None:
    """End this process when the one that made it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
