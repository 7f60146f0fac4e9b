"""Whose code an exception comes from that nothing else has taken in: of a plug-in, it is one line."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator

from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.request.plugins import PREFIX
from attrobust.naming.safe import described


def raised_in_a_plugin(error: BaseException) -> str:
    """Where in a plug-in an exception was raised, and what it says, in one line; empty where no plug-in ran.

    Args:
        error: with its traceback.
    """
    files = set(_files())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return ""
    return f"{frames[-1].filename} line {frames[-1].lineno}: {described(error)}"


def _files() -> Iterator[str]:
    """The files of plug-ins: those that were named, and those of installed classes."""
    for name, module in list(sys.modules.items()):
        if name.startswith(PREFIX):
            yield str(module.__file__)
    for registry in REGISTRIES.values():
        for cls in registry.loaded():
            try:
                yield inspect.getfile(cls)
            except (OSError, TypeError):  # typed at a prompt
                continue
