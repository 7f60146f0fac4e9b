"""States of interrupted trainings in the folder of a run: each begins with a digest. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrobust.benchmark.store.retrainings import RETRAININGS
from attrobust.files import read_plain
from attrobust.sealed import opened
from attrobust.types import UsageError

FOLDERS = ("checkpoints", RETRAININGS)


def damaged_states(run: Path) -> Iterator[Path]:
    """The states of a run from which no training can go on."""
    for folder in FOLDERS:
        for path in sorted((run / folder).glob("[!.]*.resume")):
            try:
                whole = opened(read_plain(path)) is not None
            except UsageError:
                whole = False
            if not whole:
                yield path
