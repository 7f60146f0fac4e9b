"""What stands in the folder of a run in the place of something that the run keeps there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from attrobust.benchmark.store.audits import AUDITS
from attrobust.benchmark.store.contests import FOLDER as CONTESTS
from attrobust.benchmark.store.pieces import ATTACKED, PIECES
from attrobust.benchmark.store.retrainings import RETRAININGS
from attrobust.benchmark.store.scores import ARCHIVE
from attrobust.benchmark.store.scores import FOLDER as SCORES
from attrobust.benchmark.store.thumbnails import THUMBNAILS
from attrobust.naming.file_names import not_a_file, not_a_folder

FILES = ("rows.jsonl", "run.json", "log.txt", ARCHIVE)
"""Beside the tables, ``leaderboard.*``."""
FOLDERS = (SCORES, ATTACKED, PIECES, "checkpoints", AUDITS, RETRAININGS, CONTESTS, THUMBNAILS)
WRITTEN = (*FOLDERS, "views", "figures", "gallery", "damaged")
"""All folders into which something of a run is written."""
OF_CELLS = (ATTACKED, PIECES, THUMBNAILS)
"""Folders that hold a folder for each cell or row, called by its fingerprint."""
FINGERPRINT = re.compile("[0-9a-f]{64}")


def misplaced(folder: Path) -> Iterator[tuple[Path, str]]:
    """Everything that is no file, or no folder, where a run keeps one; each with what it is, in words."""
    files = [*(folder / name for name in FILES), *sorted(folder.glob("leaderboard.*"))]
    folders = [folder / name for name in FOLDERS]
    for name in OF_CELLS:
        folders += [path for path in sorted((folder / name).glob("*")) if FINGERPRINT.fullmatch(path.name)]
    for paths, problem_of in ((files, not_a_file), (folders, not_a_folder)):
        for path in paths:
            if os.path.lexists(path) and (problem := problem_of(path)):
                yield path, problem
