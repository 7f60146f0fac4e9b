"""Whose fault it is: errors of components in one line that names the component."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrobust.process import seeded
from attrobust.types import UsageError


@contextmanager
def blamed_on(label: str) -> Iterator[None]:
    """Say of whatever goes wrong inside whose it is; what is set or drawn there in the process is put back.

    Raises:
        UsageError: in place of every exception but one of its own kind, which passes.
    """
    try:
        with seeded(0):
            yield
    except UsageError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise UsageError(f"{label}: {kind}{error}") from error
