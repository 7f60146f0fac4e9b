"""What is done with runs that lie on disk: ``report``, ``verify`` and ``clean``, and the tables at the end of a run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from attrobust.benchmark.command.options import formats_of
from attrobust.benchmark.report import leaderboard, text, write
from attrobust.benchmark.report.shards import IncompleteError
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verify import verify as problems_of
from attrobust.benchmark.store.pieces import Pieces
from attrobust.benchmark.store.schema import How
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError


def report(options: argparse.Namespace) -> int:
    """Write the tables of runs again, or of all shards of one; returns the exit code."""
    formats = formats_of(options.export)
    if len(options.runs) > 1 and options.out is None:
        raise UsageError("a table of several runs needs a folder of its own; name it with --out")
    stores = [Store(path) for path in options.runs]
    own = {path.resolve() for path in options.runs}
    if options.out and (options.out / "run.json").is_file() and options.out.resolve() not in own:
        raise UsageError(f"--out {options.out} holds another run, whose tables would be lost; choose another folder")
    finished = [store for store in stores if store.is_finished] or stores
    for store in finished:
        if not store.plan().is_as_written:
            sys.stderr.write(f"warning: {store.folder}/run.json is not as the run wrote it; see verify\n")
    interval = options.interval or finished[0].plan().interval
    try:
        board = leaderboard.build(stores, interval)
    except IncompleteError as error:
        sys.stderr.write(f"incomplete: {error}\n")
        return 1
    if options.interval and options.out is None:
        stores[0].write_plan(replace(stores[0].plan(), interval=interval))
    _show(board, options.out or stores[0].folder, formats, as_json=options.json)
    return 0


def tables(store: Store, formats: Sequence[str], interval: How, *, as_json: bool) -> None:
    """Write the tables of a run that has come to its end, and print one."""
    write.remove_others(store.folder, formats)
    _show(leaderboard.build([store], interval), store.folder, formats, as_json=as_json)


def shard_done(store: Store, *, as_json: bool) -> None:
    """Print what of the table a shard has computed, and how the table is made."""
    plan = store.plan()
    if plan.shard is None:
        return
    count, first = len(plan.addresses), plan.shard.starts[plan.shard.number - 1]
    if as_json:
        facts = {"shard": plan.shard.name, "first": first + 1, "numbers": len(plan.entries), "of": count}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    share = f"numbers {first + 1} to {first + len(plan.entries)}" if plan.entries else "none"
    sys.stdout.write(
        f"shard {plan.shard.name}: {share} of the {count} of the table, in {store.folder}\n"
        "the table, when all shards are done: run_benchmark.py report SHARD SHARD ... --out DIR\n"
    )


def verify(options: argparse.Namespace) -> int:
    """Print what is wrong with runs; returns the exit code."""
    failed = False
    for path in options.runs:
        sound, problems = problems_of(Store(path))
        for line in problems:
            sys.stdout.write(f"{path}: {line}\n")
        sys.stdout.write(f"{path}: {sound} rows recomputed and equal, {len(problems)} problems\n")
        failed = failed or bool(problems)
    return 1 if failed else 0


def clean(options: argparse.Namespace) -> int:
    """Remove the attacked images of runs; returns the exit code."""
    for path in options.runs:
        store = Store(path)
        store.plan()
        with store.locked():
            freed = Pieces(path).clean()
        sys.stdout.write(f"{path}: {freed} bytes of attacked images removed; rows, scores and weights stay\n")
    return 0


def _show(board: Leaderboard, folder: Path, formats: Sequence[str], *, as_json: bool) -> None:
    paths = write.write(board, folder, formats)
    sys.stdout.write(write.as_json(board) if as_json else text.terminal(board))
    sys.stderr.write(f"wrote {', '.join(map(str, paths))}\n")
