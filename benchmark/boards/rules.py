"""What holds for published boards: rules over the folder ``results/`` as it is, and as it was at the last commit.

A board may grow: new rows, new boards, numbers that somebody contested with stronger images. Whatever else changes a
published number, or takes away a row, an image, a flag or a board, needs a higher version of the board and a line in
CHANGELOG.md that names board and version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.boards.board import LICENCE, BoardFacts, boards_in, read_facts, stores_of
from attrobust.benchmark.boards.published import Numbers, Published, numbers_of
from attrobust.benchmark.boards.weights import weight_files
from attrobust.benchmark.report.sweeps import boards_of, incomplete, together
from attrobust.benchmark.report.verify import verify
from attrobust.benchmark.report.write import FORMATS
from attrobust.benchmark.store.store import TABLES
from attrobust.types import UsageError

RULES = {
    "readable": "every board can be read",
    "sound": "every number is what its per-image scores give, every hash holds, every record is as it was written",
    "tables": "every table is there and is rebuilt from the rows byte for byte",
    "licence": f"board.toml states a version and the licence {LICENCE}",
    "weights": "the weights of every network are there",
    "flags": "ranked rows under attack were audited, and every flag has its reason",
    "board-removed": "no published board is removed",
    "version": "a version is never lowered, and CHANGELOG.md names a new one",
    "row-removed": "no published row is removed without a new version",
    "images-removed": "no published number is of fewer images without a new version",
    "weights-changed": "no published row has other weights without a new version",
    "number-moved": "no published number or per-image score moves without a new version",
    "flag-removed": "no published flag is taken away without a new version",
}
"""Every rule by name."""


@dataclass(frozen=True)
class Complaint:
    """A rule that a board breaks, and where; prints as one line."""

    rule: str
    board: str
    what: str

    def __str__(self) -> str:
        return f"{self.board}: {self.rule}: {self.what}"


def complaints(new: Path, old: Path | None = None, changelog: str = "") -> list[Complaint]:
    """Every rule that is broken.

    Args:
        new: the folder of results as it is.
        old: as it was when it was last published; None where there is no history.
        changelog: the text in which new versions are named.
    """
    found = [complaint for board in boards_in(new) for complaint in of_one(new / board, board)]
    if old is not None:
        for board in boards_in(old):
            if not any(path.is_file() for path in (new / board).rglob("*")):
                found.append(Complaint("board-removed", board, "the board is gone; put its folder back"))
            else:
                found += of_two(old / board, new / board, board, changelog)
    return found


def of_one(folder: Path, board: str) -> Iterator[Complaint]:
    """The rules that a board breaks by itself."""
    try:
        facts = read_facts(folder)
        if facts.licence != LICENCE:
            yield Complaint("licence", board, f"board.toml says {facts.licence!r}; rows are published as {LICENCE}")
    except UsageError as error:
        yield Complaint("licence", board, str(error))
    try:
        stores, numbers = stores_of(folder), numbers_of(folder)
        for store in stores.values():
            yield from (Complaint("sound", board, line) for line in verify(store)[1] if not _of_table(line))
            known = weight_files(folder, store)
            missing = {row.label for row in store.plan().subjects if row.sha256 and not row.is_untrained} - {
                row.label for row in store.plan().subjects if row.sha256 in known
            }
            yield from (Complaint("weights", board, f"the weights of {label} are missing") for label in sorted(missing))
        yield from _tables(folder, board)
    except UsageError as error:
        yield Complaint("readable", board, str(error))
        return
    for place in sorted(numbers.must_be_audited, key=str):
        if numbers.shown[place].flags is None:
            yield Complaint("flags", board, f"{place} was not audited")
    for place, number in numbers.shown.items():
        if any(not name.strip() or not reason.strip() for name, reason in number.flags or ()):
            yield Complaint("flags", board, f"{place} has a flag without a reason")


def _of_table(line: str) -> bool:
    return line.endswith("write it again with report")


def _tables(folder: Path, board: str) -> Iterator[Complaint]:
    """Tables that are missing, or not what the rows say."""
    groups = together([folder])
    if line := incomplete(groups):
        yield Complaint("tables", board, line)
        return
    places = [(folder, groups)]
    if len(groups) > 1:
        places += [(group.stores[0].folder, [group]) for group in groups]
    for place, shown in places:
        alone = shown if place == folder else together([place])
        tables = boards_of(alone, alone[0].stores[0].plan().interval)
        for suffix, render in FORMATS.values():
            path = place / f"leaderboard.{suffix}"
            name = path.relative_to(folder.parent)
            if not path.is_file():
                # A page need not be published: a board's other tables have the same numbers.
                if path.name in TABLES:
                    yield Complaint("tables", board, f"{name} is missing; write it with report")
            elif path.read_bytes() != render(*tables).encode():
                yield Complaint("tables", board, f"{name} does not say what the rows say; write it with report")


def of_two(before: Path, after: Path, board: str, changelog: str) -> Iterator[Complaint]:
    """The rules that are broken between two states of a board, given by their folders."""
    old, new = _facts(before), _facts(after)
    versions = old.version if old else 1, new.version if new else 1
    if versions[1] < versions[0]:
        yield Complaint("version", board, f"version {versions[1]} comes after version {versions[0]}")
    if versions[1] > versions[0]:
        if not _is_named(changelog, board, versions[1]):
            yield Complaint("version", board, f"CHANGELOG.md has no line that names {board} and version {versions[1]}")
        return
    try:
        was = numbers_of(before)
    except UsageError as error:
        yield Complaint("readable", board, f"what was published cannot be read any more: {error}")
        return
    try:
        now = numbers_of(after)
    except UsageError:
        return  # Said of the board by itself.
    yield from _moved(was, now, board)


def _facts(folder: Path) -> BoardFacts | None:
    try:
        return read_facts(folder)
    except UsageError:
        return None


def _is_named(changelog: str, board: str, version: int) -> bool:
    """Whether a paragraph or an item of a list names board and version."""
    parts = re.split(r"\n\s*\n|\n(?=\s*- )", changelog)
    wanted = re.compile(rf"\bversion {version}\b")
    return any(board in part and wanted.search(" ".join(part.split())) for part in parts)


def _moved(was: Numbers, now: Numbers, board: str) -> Iterator[Complaint]:
    """What of a board that has the same version is not what it was."""
    for place, old in was.shown.items():
        new = now.shown.get(place)
        if new is None:
            yield Complaint("row-removed", board, f"{place} is gone")
            continue
        yield from (Complaint(rule, board, f"{place}: {what}") for rule, what in _differences(old, new))
    shown = {(place.run, old.row) for place, old in was.shown.items()}
    for _, key in sorted(was.rows - now.rows - shown):
        yield Complaint("row-removed", board, f"row {key[:12]} is gone from rows.jsonl")


def _differences(old: Published, new: Published) -> Iterator[tuple[str, str]]:
    """Rules that one number breaks, with what it was and is."""
    if new.weights != old.weights:
        yield "weights-changed", f"weights {old.weights[:12]} are now {new.weights[:12]}"
    if new.images < old.images or (new.defined < old.defined and not new.contests):
        yield "images-removed", f"{old.images} images ({old.defined} defined) are now {new.images} ({new.defined})"
    if lost := [name for name, _ in old.flags or () if name not in {name for name, _ in new.flags or ()}]:
        yield "flag-removed", f"{', '.join(lost)} is gone"
    if new.contests[: len(old.contests)] != old.contests:
        yield "number-moved", f"a contest of {old.contests[-1].by} is gone"
    elif new.contests != old.contests:
        if new.base_sha256 != old.base_sha256:
            yield "number-moved", "the scores below its contests are other ones"
    elif (new.mean, new.ci) != (old.mean, old.ci):
        yield "number-moved", f"{old.mean} {list(old.ci)} is now {new.mean} {list(new.ci)}"
    elif (new.scores_sha256, new.feasible, new.row) != (old.scores_sha256, old.feasible, old.row):
        yield "number-moved", "its per-image scores, or the cell they are of, are other ones"
