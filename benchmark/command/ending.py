"""Signals that end a command: it lets go of what it holds, says so in one line, and exits with 128 and their number.

Before a command has begun it holds nothing, and ``exit_on_signals`` lets a signal end the process at once. This module
imports nothing that takes time, so that ``run_benchmark.py`` can run it first.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

WORDS = {
    "SIGINT": "interrupted",
    "SIGTERM": "terminated",
    "SIGHUP": "the terminal was closed",
    "SIGQUIT": "quit",
    "SIGUSR1": "ended by SIGUSR1",
    "SIGUSR2": "ended by SIGUSR2",
    "SIGXCPU": "the limit of CPU time is reached (ulimit -t)",
}
"""By name, what the signals say that end a command; schedulers send the last ones some time before they kill."""
AGAIN = 10.0
"""Seconds after which a signal is raised once more where the command has not ended: something has swallowed it."""
SOON = 0.1
"""Seconds after which a signal that came during an import is looked at again."""


class Ended(KeyboardInterrupt):
    """A signal has come that ends the command."""


class Ending:
    """Ends a command where a signal comes; one that comes while it ends, or when it is done, changes nothing.

    One that comes during an import ends it after the import, for ``AGAIN`` seconds: extension modules that are being
    loaded end the process where a function of Python raises, torch's with C++'s ``terminate``.
    """

    def __init__(self) -> None:
        self._came = 0
        self._first = 0.0
        self._is_ending = False
        self._thread = _thread.get_ident()

    def carry_out(self, command: Callable[[], int]) -> int:
        """The exit code of a command; that of the signal which has ended it, whatever has become of ``Ended``."""
        try:
            _hand_to(self._end)
            code = command()
            _hand_to(signal.SIG_IGN)
        except BaseException:
            if not self._came:
                raise
            code = 1
        if not (self._came and code):
            return code
        _hand_to(signal.SIG_IGN)
        sys.stderr.write(line_of(self._came))
        return 128 + self._came

    def _end(self, signum: int, frame: FrameType | None) -> None:
        if self._is_ending:
            return
        if not self._came:
            self._first = time.monotonic()
        self._came, self._is_ending = signum, True
        if _is_importing(frame) and time.monotonic() < self._first + AGAIN:
            _thread.start_new_thread(self._raise_again, (SOON,))
            return
        _thread.start_new_thread(self._raise_again, (AGAIN,))
        raise Ended

    def _raise_again(self, seconds: float) -> None:
        time.sleep(seconds)
        self._is_ending = False
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(self._thread, self._came)  # Which also wakes one that sleeps.
        else:
            _thread.interrupt_main(signal.Signals(self._came))


def exit_on_signals() -> None:
    """Let a signal end this process at once, in one line."""
    _hand_to(_exit)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported in a frame or below it; a plug-in, which we execute ourselves, is not."""
    while frame is not None:
        spec = frame.f_globals.get("__spec__")
        if frame.f_code.co_name == "<module>" and getattr(spec, "_initializing", False):
            return True
        frame = frame.f_back
    return False


def _exit(signum: int, _frame: FrameType | None) -> None:
    os.write(2, line_of(signum).encode())
    os._exit(128 + signum)


def line_of(signum: int) -> str:
    """What a signal says that has ended a command."""
    return f"{WORDS[signal.Signals(signum).name]}; the same command goes on where it stopped\n"


def _hand_to(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Let a handler have the signals; one that is ignored, as by ``nohup``, stays so."""
    for name in WORDS:
        signum = getattr(signal, name, None)
        if signum is not None and signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, handler)
