"""The tables of sweeps: one for each run, ranked by itself, beside each other in every file.

Runs of a sweep that are evaluated alike and differ in their rows only, as parts of a protocol may, make one table.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.shards import IncompleteError
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.view.keep import EVERYTHING, Keep
from attrobust.benchmark.report.write import FORMATS, as_written, says_the_same
from attrobust.benchmark.store.schema import How
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.sweep import read_sweep
from attrobust.types import UsageError

AGAIN = "the same command again goes on where it stopped"
"""Where it is not known how the command was typed."""


@dataclass(frozen=True, kw_only=True)
class Together:
    """Runs that make one table.

    Attributes:
        where: what tells it from the other tables of a sweep; empty where there is no sweep.
        stores: of the runs.
        part: of the protocol that they are; empty where the protocol has no parts.
        table: what tells the table that its rows stand in from the others, where other runs have rows in it too.
        commands: that go on with them, as far as that is known.
    """

    where: str
    stores: tuple[Store, ...]
    part: str = ""
    table: str = ""
    commands: tuple[str, ...] = ()

    @property
    def unfinished(self) -> str:
        """What is said of a run of a sweep, or of a single one, that is not finished; empty where one is.

        Empty, too, where nothing says that there ought to be a run.
        """
        begun = any(store.is_begun for store in self.stores)
        if any(store.is_finished for store in self.stores) or not (self.where or begun):
            return ""
        where = self.where or str(self.stores[0].folder)
        return f"{where} is not finished" if begun else f"{where} has not begun"


def together(folders: Sequence[Path]) -> list[Together]:
    """What folders of runs, or of sweeps over the same values, make tables of.

    Raises:
        UsageError: sweeps over other values, or sweeps and single runs.
    """
    sweeps = [read_sweep(folder) for folder in folders]
    first = sweeps[0]
    for folder, sweep in zip(folders, sweeps, strict=True):
        if (sweep is None) != (first is None):
            raise UsageError(f"of {folders[0]} and {folder} one is a sweep and one a single run; give runs of one kind")
        if sweep and first and sweep.runs != first.runs:
            raise UsageError(f"{folder} and {folders[0]} are sweeps over other values; give sweeps over the same")
    if first is None:
        return [Together(where="", stores=tuple(map(Store, folders)))]
    commands = tuple(shlex.join(["run_benchmark.py", *sweep.argv]) for sweep in sweeps if sweep and sweep.argv)
    return [
        Together(
            where=run.words,
            stores=tuple(Store(folder / run.folder) for folder in folders),
            part=run.part,
            table=run.table,
            commands=commands,
        )
        for run in first.runs
    ]


def incomplete(groups: Sequence[Together]) -> str:
    """One line that says which runs are not finished and which command goes on; empty where all are."""
    if not (found := [group.unfinished for group in groups if group.unfinished]):
        return ""
    commands = " and ".join(groups[0].commands)
    return f"{', '.join(found)}; {f'go on with: {commands}' if commands else AGAIN}"


def whole(tables: Sequence[Sequence[Store]]) -> Sequence[Keep]:
    """All of every table."""
    return [EVERYTHING] * len(tables)


def by_table(groups: Sequence[Together]) -> dict[str, list[Together]]:
    """The finished runs of each table, by what tells it from the others."""
    tables: dict[str, list[Together]] = {}
    for group in groups:
        if not group.unfinished:
            tables.setdefault(group.table or group.where, []).append(group)
    return tables


def boards_of(
    groups: Sequence[Together],
    interval: How,
    keeps: Callable[[Sequence[Sequence[Store]]], Sequence[Keep | None]] = whole,
) -> list[Leaderboard]:
    """Every table that groups have rows of; raises as ``build`` does, with what is missing of all.

    Args:
        groups: the runs.
        interval: over images.
        keeps: from the runs of every table what is shown of it, None for a table that is left out.
    """
    boards, missing = [], []
    tables = by_table(groups)
    shown = keeps([[store for group in found for store in group.stores] for found in tables.values()])
    for (where, found), keep in zip(tables.items(), shown, strict=True):
        if keep is None:
            continue
        part = " and ".join(group.part for group in found)
        try:
            board = build([store for group in found for store in group.stores], interval, keep)
            boards.append(dataclasses.replace(board, where=where, part=part))
        except IncompleteError as error:
            missing.append(f"{where}: {error}" if where else str(error))
    missing += [line] if (line := incomplete(groups)) else []
    if missing:
        raise IncompleteError("; ".join(missing))
    return boards


def stale_tables(folder: Path, groups: Sequence[Together]) -> list[str]:
    """One line for every table of a sweep that is not what its runs say."""
    stores = [store for group in groups for store in group.stores]
    if any(store.plan().shard for store in stores):
        return []
    boards = boards_of(groups, stores[0].plan().interval)
    return [
        f"{path} does not say what the rows say; write it again with report"
        for suffix, render in FORMATS.values()
        if (path := folder / f"leaderboard.{suffix}").is_file() and not says_the_same(as_written(path), render(*boards))
    ]
