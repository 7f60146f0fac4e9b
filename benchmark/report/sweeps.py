"""The tables of sweeps: one for each run, ranked by itself, beside each other in every file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.shards import IncompleteError
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.write import FORMATS
from attrobust.benchmark.store.schema import How
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.sweep import read_sweep
from attrobust.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Together:
    """Runs that make one table.

    Attributes:
        where: what tells it from the other tables of a sweep; empty where there is no sweep.
        stores: of the runs.
    """

    where: str
    stores: tuple[Store, ...]


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
        if sweep != first:
            raise UsageError(f"{folder} and {folders[0]} are sweeps over other values; give sweeps over the same")
    if first is None:
        return [Together(where="", stores=tuple(map(Store, folders)))]
    return [
        Together(where=run.words, stores=tuple(Store(folder / run.folder) for folder in folders)) for run in first.runs
    ]


def boards_of(groups: Sequence[Together], interval: How) -> list[Leaderboard]:
    """The table of each group; raises as ``build`` does, with what is missing of all."""
    boards, missing = [], []
    for group in groups:
        try:
            boards.append(dataclasses.replace(build(group.stores, interval), where=group.where))
        except IncompleteError as error:
            missing.append(f"{group.where}: {error}" if group.where else str(error))
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
        if (path := folder / f"leaderboard.{suffix}").is_file() and path.read_text(encoding="utf-8") != render(*boards)
    ]
