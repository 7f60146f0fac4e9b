"""The checked-out sources: a copy of them, and what the documents show."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from helpers.runs import ROOT

IGNORED = shutil.ignore_patterns(
    ".git", ".venv*", "*.egg-info", "__pycache__", "build", "dist", "runs", ".*_cache", "reference"
)


def copy_sources(folder: Path) -> Path:
    """A copy of the sources inside ``folder``, with links as they are and without what tools leave behind."""
    shutil.copytree(ROOT, folder / "source", ignore=IGNORED, symlinks=True)
    return folder / "source"


def blocks(name: str, language: str = "") -> list[str]:
    """The fenced blocks of a document that are in a language, or in none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / name).read_text(), flags=re.S | re.M)
    return [text for kind, text in fenced if kind == language]


FILE = re.compile(r"`([\w./-]+\.\w+)`[^`\n]*:\n\n```\w+\n(.*?)^```", flags=re.S | re.M)
"""A fenced block that is a whole file: it belongs to the name said last before it."""


def shown_files(page: str) -> dict[str, str]:
    """The complete files that a page shows, by name."""
    found = FILE.findall((ROOT / page).read_text(encoding="utf-8"))
    assert len(found) == len(dict(found))
    return dict(found)
