"""The connection to a Ray cluster, which is there already: joined and left again, with nothing printed by Ray."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
REACHED = 5.0
"""Seconds in which the head of a cluster answers."""
HINT = "start one with `ray start --head`, join it from other machines, and run the command on one of them"


class Connection:
    """A connection to a Ray cluster; what Ray prints meanwhile goes to the log's file.

    Args:
        address: of its head, or ``auto``.

    Attributes:
        ray: the library.

    Raises:
        UsageError: there is no cluster.
    """

    def __init__(self, address: str) -> None:
        # Under `uv run`, Ray would send the whole working directory to every node.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        import ray

        self.ray: Any = ray
        self._held = contextlib.ExitStack()
        where = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
        _reach(where)
        self._joined = not ray.is_initialized()
        self._held.enter_context(contextlib.redirect_stdout(_ToLog()))
        try:
            if self._joined:
                with signals_wait(), _own_signals():
                    ray.init(address=where, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            self._held.close()
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"--executor ray: no cluster was joined ({reason}); {HINT}") from error
        except SystemExit:  # Ray's answer to SIGTERM while it joins
            self._held.close()
            signal.raise_signal(signal.SIGTERM)
            raise
        self.open = True

    def nodes(self) -> list[Mapping[str, float]]:
        """The resources of every node that is alive."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def lost_nodes(self) -> int:
        """How many nodes there were and are no more, as far as the head has noticed: it takes some seconds."""
        return sum(not node["Alive"] for node in self.ray.nodes())

    def close(self) -> None:
        """Leave the cluster, where it was joined here."""
        if self.open:
            self.open = False
            if self._joined:
                self.ray.shutdown()
            self._held.close()


def _reach(address: str) -> None:
    """Raise UsageError where nobody answers at ``host:port``; Ray itself tries for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"--executor ray: nobody answers at {address} ({reason}); {HINT}") from error


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """A signal that comes meanwhile is handled at the end.

    Ray asks for signals within its calls. Of what a handler raises there, it makes a ``SystemError``, or prints it.
    """
    came: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        came.append(signum)

    with _own_signals() as before:
        for number, handler in before.items():
            if callable(handler):
                with contextlib.suppress(ValueError):  # in another thread than the main one
                    signal.signal(number, note)
        yield
    for number in came[:1]:
        signal.raise_signal(number)


@contextlib.contextmanager
def _own_signals() -> Iterator[Mapping[int, Any]]:
    """Afterwards signals do what they did: Ray would exit at SIGTERM, without a word. Yields what they did."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield before
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) != handler:
                with contextlib.suppress(ValueError):  # in another thread than the main one
                    signal.signal(number, handler)


class _ToLog(io.TextIOBase):
    """Text that goes to the file of the log: the first line of what is printed at once."""

    def write(self, text: str) -> int:
        """Log what has been printed."""
        if text.strip():
            LOG.debug("%s", text.strip().splitlines()[0][:300], extra={"file_only": True})
        return len(text)
