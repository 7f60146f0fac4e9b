"""What a run finds and leaves on disk, told before it begins."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from attrobust.benchmark.store.pieces import ATTACKED
from attrobust.benchmark.store.repair import put_aside, remade_files
from attrobust.files import size_words

LOG = logging.getLogger("attrobust")
WORTH_SAYING = 10**6
"""Bytes that a user wants to know of."""


def set_aside_what_is_damaged(folder: Path) -> None:
    """Move files that are not as the run wrote them into its folder ``damaged``, so that they are made again."""
    for path in list(remade_files(folder)):
        LOG.warning("%s is damaged; it is set aside in %s", path, put_aside(folder, path))


def say_what_is_kept(folder: Path, wanted: float) -> None:
    """Say how large attacked images may become, and whether there is room.

    Args:
        folder: of the run.
        wanted: their bytes, at most.
    """
    if wanted < WORTH_SAYING:
        return
    where, most = folder / ATTACKED, size_words(wanted)
    LOG.info("attacked images: at most %s in %s (--keep-images none leaves them out)", most, where)
    if wanted > (free := shutil.disk_usage(folder).free):
        LOG.warning("warning: %s has only %s free", folder, size_words(free))
