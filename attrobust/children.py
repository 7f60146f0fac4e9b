"""Processes that a command makes: none of them outlives it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait


def belong_to_parent() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the process that made this one.

    This one ends when that one says so, by SIGTERM, or is gone, however that ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A closed terminal that is ignored, as by ``nohup``, stays so.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


@contextlib.contextmanager
def made_unaware() -> Iterator[None]:
    """Processes that are made inside the block are not reached by Ctrl-C while they import; here it waits meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # A process that is made beside the first one lets signals through again when it has been made.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_for_the_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
