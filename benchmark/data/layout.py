"""Finds the splits of a folder of images: folders of class folders, class folders alone, or a CSV file of labels."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrobust.benchmark.data.tree import SUFFIXES, Tree, left_out, read_tree
from attrobust.naming.file_names import not_a_file
from attrobust.types import SplitName, UsageError

LOG = logging.getLogger("attrobust")
Labelled = list[tuple[Path, str]]
"""Image files with the names of their classes."""
FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
"""Names of the folder of each split, in small letters."""
COLUMNS = {
    "file": ("file", "filename", "file_name", "path", "filepath", "image", "image_id", "img", "name"),
    "label": ("label", "class", "class_name", "category", "target", "synset", "wnid"),
    "split": ("split", "set", "subset"),
}
"""Heads of the columns of a CSV file, in small letters."""


def find_splits(root: Path, labels: str | None) -> dict[SplitName, Labelled]:
    """The images of every split that there is, sorted by class and file.

    Args:
        root: the folder that the user named.
        labels: a CSV file in it, with a row for each image; None where folders say the classes.

    Raises:
        OSError: a folder or a file cannot be read.
        UsageError: there is no image, or it is not said which split or class one is of.
    """
    if labels is not None:
        return _from_table(root, root / labels)
    folders = split_folders(root)
    if not folders:
        inner = next((path for path in sorted(root.iterdir()) if path.is_dir() and split_folders(path)), None)
        if inner is not None:
            raise UsageError(f"imagefolder: {root} has no train/, test/ or val/, and {inner} has: --data-root {inner}")
        folders = {"test": root}
    if folders.keys() == {"train"}:
        raise UsageError(f"imagefolder: {root} needs test/ (or val/) beside {folders['train'].name}/")
    trees = {split: read_tree(folder) for split, folder in folders.items()}
    for split, tree in trees.items():
        if not tree.images:
            raise UsageError(f"imagefolder: {folders[split]} {_no_classes(tree)}")
    if line := left_out(trees.values()):
        LOG.warning("warning: %s", line)
    return {
        split: [(path, name) for name, paths in tree.images.items() for path in paths] for split, tree in trees.items()
    }


def split_folders(root: Path) -> dict[SplitName, Path]:
    """The folders of splits in a folder; raises UsageError where two are of the same split."""
    here = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    found: dict[SplitName, Path] = {}
    for split, names in FOLDERS.items():
        present = [here[name] for name in names if name in here]
        if len(present) > 1:
            raise UsageError(f"imagefolder: {present[0]} and {present[1]} are both of the split {split}; rename one")
        if present:
            found[split] = present[0]
    return found


def _no_classes(tree: Tree) -> str:
    """What is wrong with a folder that has no class folders."""
    images = sum(count for suffix, count in tree.others.items() if suffix in SUFFIXES)
    if not images:
        return f"holds no image files ({', '.join(sorted(SUFFIXES))}) in class folders"
    return (
        f"holds {images} images that are in no class folder; a CSV file with the columns file and label in --data-root "
        "says their classes: imagefolder:labels=FILE.csv"
    )


def _from_table(root: Path, table: Path) -> dict[SplitName, Labelled]:
    """The images of a CSV file, which names them below ``root``; those without a split are test images."""
    if problem := not_a_file(table):
        raise UsageError(f"imagefolder: labels: {table} {problem}")
    try:
        with table.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.reader(opened, strict=True))  # Else a quote without its other takes in all rows below it.
    except OSError as error:
        raise UsageError(f"imagefolder: labels: {table} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"imagefolder: labels: {table} is no CSV file in UTF-8 ({error})") from error
    columns = _columns(rows, table)
    found: dict[SplitName, Labelled] = {}
    names = {name: split for split, all_names in FOLDERS.items() for name in all_names}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        where = f"imagefolder: labels: row {line} of {table}"
        _check_cells(row, columns, len(rows[0]), where)
        file, label = root / row[columns["file"]].strip(), row[columns["label"]].strip()
        split = row[columns["split"]].strip().lower() if "split" in columns else "test"
        if Path(row[columns["file"]]).is_absolute() or ".." in Path(row[columns["file"]]).parts:
            raise UsageError(f"{where} names {file}, which is not below {root}")
        if split not in names:
            raise UsageError(f"{where} has the split {split!r}; use train, val or test")
        if not label or not file.is_file():
            raise UsageError(f"{where} has no label" if not label else f"{where} names {file}, which does not exist")
        found.setdefault(names[split], []).append((file, label))
    if "test" not in found and "val" not in found:
        raise UsageError(f"imagefolder: labels: {table} has no images of the split test (or val)")
    files = Counter(file for labelled in found.values() for file, _ in labelled)
    twice = [file for file, count in files.items() if count > 1]
    if twice:
        raise UsageError(f"imagefolder: labels: {table} names {twice[0]} twice")
    return {split: sorted(labelled, key=lambda pair: (pair[1], pair[0])) for split, labelled in found.items()}


def _check_cells(row: Sequence[str], columns: Mapping[str, int], head: int, where: str) -> None:
    """Raise UsageError unless a row has the columns of the head, and no others: a comma in a label would cut it."""
    if len(row) <= max(columns.values()):
        raise UsageError(f"{where} has {len(row)} columns, and its head more")
    if any(cell.strip() for cell in row[head:]):
        raise UsageError(f"{where} has more columns than its head; put text that has a comma in quotes")
    if not row[columns["file"]].strip():
        raise UsageError(f"{where} names no file")


def _columns(rows: Sequence[Sequence[str]], table: Path) -> dict[str, int]:
    """The positions of the columns file, label and, where there is one, split, by the head of a CSV file."""
    head = [name.strip().lower() for name in rows[0]] if rows else []
    found = {}
    for column, names in COLUMNS.items():
        present = [name for name in head if name in names]
        if len(present) > 1:
            raise UsageError(f"imagefolder: labels: {table} has two columns of the {column}: {', '.join(present)}")
        if present:
            found[column] = head.index(present[0])
        elif column != "split":
            raise UsageError(
                f"imagefolder: labels: the first row of {table} names no column {column!r}; write file,label "
                "above, with commas between columns"
            )
    return found
