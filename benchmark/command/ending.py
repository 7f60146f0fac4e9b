"""Signals that end a command: it lets go of what it holds, says so in one line, and exits with the signal's code."""

from __future__ import annotations

import signal
from types import FrameType

WORDS = {"SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
"""By name, what the signals say that end a command beside Ctrl-C."""


class Ended(BaseException):
    """A signal has come that ends the command.

    Args:
        signum: its number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def words(self) -> str:
        """What it was, for the user."""
        return WORDS[signal.Signals(self.signum).name]


def raise_on_signals() -> None:
    """Raise ``Ended`` in the main thread where a signal comes; one that is ignored, as by ``nohup``, stays so."""
    for name in WORDS:
        signum = getattr(signal, name, None)
        if signum is not None and signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, _end)


def _end(signum: int, _frame: FrameType | None) -> None:
    raise Ended(signum)
