"""What is done with runs that lie on disk: ``report`` and ``clean``, and the tables at the end of a run."""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from msgspec.structs import replace

from attrobust.benchmark.command.options import formats_of
from attrobust.benchmark.command.saying import say, tell
from attrobust.benchmark.command.view import folder_of, view_of
from attrobust.benchmark.report import latex, text, write
from attrobust.benchmark.report.shards import IncompleteError
from attrobust.benchmark.report.sweeps import boards_of, together
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verdict.closing import closing_lines
from attrobust.benchmark.report.verdict.terminal import WIDEST
from attrobust.benchmark.report.view.versions import beside_each_other, named
from attrobust.benchmark.store.pieces import Pieces
from attrobust.benchmark.store.schema import How
from attrobust.benchmark.store.store import SWEEP, Store
from attrobust.naming.file_names import real
from attrobust.types import UsageError


class Shown(Enum):
    """What of tables is printed."""

    NOTHING = "nothing"
    VERDICT = "verdict"
    FULL = "full"
    JSON = "json"

    @classmethod
    def asked(cls, options: argparse.Namespace) -> Shown:
        """What a command line asks for."""
        if options.json:
            return cls.JSON
        return cls.FULL if options.full else cls.VERDICT


def report(options: argparse.Namespace) -> int:
    """Write the tables of runs again, or of all shards of one; returns the exit code."""
    formats, view, runs = formats_of(options.export), view_of(options), named(options.runs)
    _check_pictures(options, formats)
    folders = [folder for _, folder in runs]
    if len(folders) > 1 and options.out is None:
        raise UsageError("a table of several runs needs a folder of its own; name it with --out")
    own = {real(path) for path in folders}
    holds = options.out and any((options.out / name).is_file() for name in ("run.json", SWEEP))
    if holds and real(options.out) not in own:
        raise UsageError(f"--out {options.out} holds another run, whose tables would be lost; choose another folder")
    out = folder_of(view, folders, options.out)
    if formats == ["bibtex"] and view.is_whole:
        return _papers(folders, out)
    groups = beside_each_other(runs) if runs[0][0] else together(folders)
    finished = [store for group in groups for store in group.stores if store.is_finished]
    for store in finished:
        if not store.plan().is_as_written:
            tell(f"warning: {store.folder}/run.json is not as the run wrote it; see verify")
        for where in itertools.islice(store.lines.changed(), 1):
            tell(f"warning: {where} is not as the run wrote it; see verify")
    interval: How = options.interval or (finished[0].plan().interval if finished else "percentile")
    try:
        boards = view.of(boards_of(groups, interval, view.keeps))
    except IncompleteError as error:
        tell(f"incomplete: {error}")
        return 1
    if options.interval and options.out is None and view.is_whole:
        for store in finished:
            store.write_plan(replace(store.plan(), interval=interval))
    if options.pictures:
        # Maps are drawn with torch, which reports do without.
        from attrobust.benchmark.command.gallery import page_pictures

        page_pictures(boards, folders, options.data_root, options.plugin)
    again = [*options.runs, *(["--out", str(options.out)] if options.out else [])] if view.is_whole else []
    _show(boards, out, formats, Shown.asked(options), again)
    wide = [latex.too_wide(*boards, whole=name == "latex-full") for name in formats if name.startswith("latex")]
    for line in dict.fromkeys(line for found in wide for line in found):
        tell(f"warning: {line}")
    return 0


def _check_pictures(options: argparse.Namespace, formats: Sequence[str]) -> None:
    if options.pictures and "html" not in formats:
        raise UsageError("--pictures are put into the page; name it too: --export html")
    if not options.pictures and (options.data_root or options.plugin):
        raise UsageError("--data-root and --plugin are for --pictures; report alone needs none of them")


def _papers(folders: Sequence[Path], out: Path) -> int:
    """Write one file of the papers of runs, which need not compare."""
    try:
        boards = [board for folder in folders for board in boards_of(together([folder]), "percentile")]
    except IncompleteError as error:
        tell(f"incomplete: {error}")
        return 1
    (path,) = write.write(boards, out, ["bibtex"])
    tell(f"wrote {path}")
    return 0


def tables(folder: Path, formats: Sequence[str], interval: How, shown: Shown) -> None:
    """Write the tables of a run, or a sweep, that has come to its end, and print what is wanted of them."""
    write.remove_others(folder, formats)
    _show(boards_of(together([folder]), interval), folder, formats, shown, [str(folder)])


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
    say(f"shard {plan.shard.name}: {share} of the {count} of the table, in {store.folder}")
    say("the table, when all shards are done: run_benchmark.py report SHARD SHARD ... --out DIR")


def clean(options: argparse.Namespace) -> int:
    """Remove the attacked images of runs; returns the exit code."""
    groups = [group for path in options.runs for group in together([path])]
    for store in (store for group in groups for store in group.stores if not (group.where and group.unfinished)):
        store.plan()
        with store.locked():
            freed = Pieces(store.folder).clean()
        say(f"{store.folder}: {freed} bytes of attacked images removed; rows, scores and weights stay")
    return 0


def _show(
    boards: Sequence[Leaderboard], folder: Path, formats: Sequence[str], shown: Shown, again: Sequence[str]
) -> None:
    """Write tables and print what is wanted of them; ``again`` are arguments with which ``report`` does so, if any."""
    paths = write.write(boards, folder, formats)
    if shown == Shown.NOTHING:
        return
    if shown == Shown.JSON:
        sys.stdout.write(write.as_json(*boards))
    else:
        columns = shutil.get_terminal_size(fallback=(WIDEST, 24)).columns
        sys.stdout.write(text.terminal(*boards, full=shown == Shown.FULL, columns=columns))
        sys.stdout.flush()
    tell(f"wrote {', '.join(map(str, paths))}")
    full = shown != Shown.VERDICT or text.shows_blocks(boards)
    for line in closing_lines(boards, again, formats, full=full):
        tell(line)
