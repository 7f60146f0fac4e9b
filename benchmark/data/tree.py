"""Image files in class folders: which there are, which files are none, and what cannot be read."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from attrobust.types import UsageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What a folder of class folders holds.

    Attributes:
        images: by class, in the order of the names, its image files in theirs.
        others: by ending, how many files are no images.
    """

    images: Mapping[str, list[Path]]
    others: Counter[str]


def read_tree(folder: Path) -> Tree:
    """The files of every class folder and of the folders below it; names that begin with a dot are skipped.

    Raises:
        OSError: a folder or a file cannot be read, or a link leads nowhere.
        UsageError: a class folder holds no image files, or a link leads back into itself.
    """
    images: dict[str, list[Path]] = {}
    others = Counter[str]()
    for path, kind in _entries(folder):
        if not stat.S_ISDIR(kind.st_mode):
            others[path.suffix.lower()] += 1
            continue
        files = list(_files(path, frozenset({_identity(kind)})))
        images[path.name] = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
        others.update(file.suffix.lower() for file in files if file.suffix.lower() not in SUFFIXES)
        if not images[path.name]:
            raise UsageError(
                f"imagefolder: class folder {path} holds no image files ({', '.join(sorted(SUFFIXES))}); "
                "fill or remove it, since classes are numbered by their folders"
            )
    return Tree(images=images, others=others)


def left_out(trees: Iterable[Tree]) -> str:
    """One line about the files that are no images; empty where there are none."""
    others = sum((tree.others for tree in trees), Counter[str]())
    if not others:
        return ""
    listed = ", ".join(f"{suffix or 'no ending'} ({count})" for suffix, count in sorted(others.items()))
    files = f"{others.total()} file{'s' if others.total() > 1 else ''}"
    return f"imagefolder: {files} left out: {listed}; read are {', '.join(sorted(SUFFIXES))} in class folders"


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What a folder holds, by name, links followed."""
    with os.scandir(folder) as entries:
        shown = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in shown:
        path = folder / name
        yield path, path.stat()


def _files(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Files of a folder and of those below it; ``above`` has the folders that lead to it, itself included."""
    for path, kind in _entries(folder):
        if stat.S_ISREG(kind.st_mode):
            yield path
            continue
        if not stat.S_ISDIR(kind.st_mode):
            raise UsageError(f"imagefolder: {path} is neither a file nor a folder; remove it")
        if _identity(kind) in above:
            raise UsageError(f"imagefolder: {path} is a link to a folder that it lies in; remove it")
        yield from _files(path, above | {_identity(kind)})


def _identity(kind: os.stat_result) -> tuple[int, int]:
    return kind.st_dev, kind.st_ino
