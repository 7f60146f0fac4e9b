"""``verify``: what is wrong with runs on disk, in words; what is damaged is set aside where that is asked for."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from attrobust.benchmark.boards.board import FILE as BOARD
from attrobust.benchmark.command.saying import say
from attrobust.benchmark.report.sweeps import incomplete, stale_tables, together
from attrobust.benchmark.report.verify import examine
from attrobust.benchmark.store.damage import DamagedError, Problem
from attrobust.benchmark.store.repair import DAMAGED, SetAside, put_aside, set_aside
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.sweep import read_sweep
from attrobust.naming.file_names import real
from attrobust.types import UsageError


def verify(options: argparse.Namespace) -> int:
    """Print what is wrong with runs, or contest a number of one; returns the exit code."""
    from attrobust.benchmark.command import board

    if options.stronger:
        return board.stronger(options)
    if options.by:
        raise UsageError("--by names who found the images of --stronger; name their file too")
    if not options.recompute and (options.images or options.data_root or options.plugin):
        raise UsageError("--images, --data-root and --plugin are for --recompute N; verify alone needs none of them")
    failed = False
    for path in options.runs:
        wrong = _wrong(path, repair=options.repair)
        if not wrong and options.recompute:
            board.load_all(options.plugin)
            wrong += not board.recompute(path, options.recompute, options.images or board.IMAGES, options.data_root)
        failed = failed or bool(wrong)
    return 1 if failed else 0


def _wrong(path: Path, *, repair: bool) -> int:
    """Print what is wrong with a run, a sweep or a board; returns how much that is."""
    if repair and any((place / BOARD).is_file() for place in (path, real(path).parent)):
        raise UsageError(f"{path} is a published board: what is damaged in it is put back from the repository")
    try:
        groups = together([path])
    except DamagedError as error:
        say(str(error))
        if repair:
            say(f"{path}: set aside: {put_aside(path, error.path)}")
        return 1
    wrong = 0
    for group in groups:
        (store,) = group.stores
        if not group.unfinished or store.is_begun:
            wrong += _of_run(store, repair=repair)
    if line := incomplete(groups):
        wrong += 1
        say(f"{path}: incomplete: {line}")
    if not wrong and read_sweep(path):
        stale = stale_tables(path, groups)
        wrong += len(stale)
        for line in stale:
            say(f"{path}: {line}")
    return wrong


def _of_run(store: Store, *, repair: bool) -> int:
    with store.held() if repair and store.is_begun else contextlib.nullcontext():
        argv = _argv(store)
        found = examine(store)
        for problem in found.problems:
            say(f"{store.folder}: {problem.words}")
        count = len(found.problems)
        problems = "1 problem" if count == 1 else f"{count} problems"
        say(f"{store.folder}: {found.sound} rows recomputed and equal, {problems}")
        if repair:
            _repair(store, found.problems, argv)
    return len(found.problems)


def _argv(store: Store) -> Sequence[str]:
    """What was typed for a run; nothing where that is not known."""
    with contextlib.suppress(UsageError):
        return store.plan().argv
    return ()


def _repair(store: Store, problems: Sequence[Problem], argv: Sequence[str]) -> None:
    """Set aside what is damaged, and say so."""
    aside = set_aside(store, problems)
    if not (aside.files or aside.lines):
        return
    again = f": {shlex.join(['run_benchmark.py', *argv])}" if argv else ""
    say(
        f"{store.folder}: set aside in {store.folder / DAMAGED}: {_words(aside)}; "
        f"the same command computes it again{again}"
    )


def _words(aside: SetAside) -> str:
    numbers = ", ".join(map(str, aside.lines))
    lines = f"line{'s' if len(aside.lines) > 1 else ''} {numbers} of rows.jsonl" if numbers else ""
    return ", ".join([*aside.files, *([lines] if lines else [])])
