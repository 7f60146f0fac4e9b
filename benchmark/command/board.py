"""``verify --recompute``, ``verify --stronger`` and ``submit``: what is done with published boards."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrobust.benchmark.boards.board import LICENCE, BoardFacts, read_facts, stores_of
from attrobust.benchmark.boards.fit import Fit, fits_of
from attrobust.benchmark.boards.registered import check_registered, named_plugins
from attrobust.benchmark.boards.rules import of_one, of_two
from attrobust.benchmark.boards.sample import cells_of, sample
from attrobust.benchmark.boards.submit import packing, put, size_of
from attrobust.benchmark.command.saying import say, tell
from attrobust.benchmark.report.verify import verify
from attrobust.benchmark.request.plugins import load_plugin
from attrobust.files import size_words
from attrobust.naming.file_names import not_a_file, real, unsuitable
from attrobust.types import UsageError

MOST = 10
"""Reasons that are printed of why a run is not packed."""
IMAGES = 8
"""Of each cell that is computed again, unless asked otherwise."""


def recompute(folder: Path, count: int, images: int, data_root: Path | None, shown: str = "") -> bool:
    """Compute a sample of a board's cells again and print what does not agree; returns whether all does.

    Args:
        folder: of the board.
        count: how many cells.
        images: of each.
        data_root: the folder that datasets are read from.
        shown: what lines call the folder; its path where it is left out.
    """
    shown = shown or str(folder)
    cells = cells_of(stores_of(folder))
    chosen = sample(cells, count, images)
    check_registered(folder, chosen)
    estimate = sum(cell.seconds(images) for cell in chosen)
    tell(
        f"{shown}: computing {len(chosen)} of {len(cells)} cells again, on at most {images} images each, "
        f"clean accuracy on more; where they were made this took {estimate:.0f} s"
    )
    # Imported late, so that the folder's own mistakes are answered at once.
    from attrobust.benchmark.boards import recompute as again
    from attrobust.benchmark.boards.opened import Opener

    opener, wrong, started = Opener(folder, data_root), 0, time.monotonic()
    for number, cell in enumerate(chosen, start=1):
        found = again.recompute(cell, opener, images)
        wrong += len(found)
        tell(f"{number}/{len(chosen)} {cell}: {'differs' if found else 'agrees'}")
        for line in found:
            say(f"{shown}: {line}")
    seconds = time.monotonic() - started
    say(f"{shown}: {len(chosen)} cells computed again in {seconds:.0f} s, {wrong} numbers differ")
    return not wrong


def stronger(options: argparse.Namespace) -> int:
    """Contest a number of a board with images that were handed in; returns the exit code."""
    if len(options.runs) != 1 or not options.by:
        raise UsageError("--stronger takes one folder, and --by with the name of who found the images")
    load_all(options.plugin)
    from attrobust.benchmark.boards.handed import read_handed_in
    from attrobust.benchmark.boards.stronger import contest

    folder, handed = options.runs[0], read_handed_in(options.stronger)
    found = contest(folder, handed, options.by, options.data_root)
    for line in found:
        say(f"{folder}: {line}")
    if found:
        say(f"{folder}: {len(found)} numbers contested by {options.by}; tables are written again")
    else:
        say(f"{folder}: no image is stronger than what is published for {handed.words}; nothing written")
    return 0


def submit(options: argparse.Namespace) -> int:
    """Pack a run for a pull request, checked as CI will check it; returns the exit code."""
    run: Path = options.run
    stores = stores_of(run)
    problems = [f"{store.folder}: {line}" for store in stores.values() for line in verify(store)[1]]
    if problems:
        return _refused(problems)
    if options.as_board:
        return _as_board(run, options.results / options.as_board, options)
    fits = fits_of(run, options.results)
    if not fits:
        raise UsageError(f"{options.results} holds no board; name the folder of the boards with --results")
    fitting = [fit for fit in fits if not fit.differences]
    for fit in fits:
        for line in fit.differences:
            say(f"does not fit {fit.board}: {line}")
    if not fitting:
        return _refused(["it fits no board; run the command of one of them, with your method among the methods"])
    for fit in fitting:
        _say(fit)
    plugins = list(options.plugin) or plugins_of(run)
    load_all(plugins)
    to: Path = options.to or options.results / "submissions" / real(run).name
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"--to {to} holds something already; name an empty folder")
    fit = fitting[0]
    facts = BoardFacts(version=1, licence=LICENCE, tracks=(fit.track,), of=fit.board, by=options.by)
    with packing(run, to, facts, plugins) as packed:
        # What is packed is checked, and not the run, since that is what others will have.
        if not recompute(packed, options.recompute, options.images or IMAGES, options.data_root, str(run)):
            return _refused(["what was computed again differs, see above"])
        put(packed, to)
    _say_packed(to, "add it to a pull request")
    return 0


def _as_board(run: Path, to: Path, options: argparse.Namespace) -> int:
    """Make a board of a run, or let the board of that name grow, where no rule of published boards is broken by it.

    Args:
        run: whose numbers are what their scores give.
        to: place of the board.
        options: of the command.
    """
    if options.to is not None or options.by:
        raise UsageError("--as-board goes without --to and --by: a board lies in --results and is nobody's submission")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", options.as_board):
        raise UsageError(f"--as-board {options.as_board!r} is no name: lower-case letters, digits, '-', '_' and '.'")
    if problem := unsuitable(options.as_board):
        raise UsageError(f"--as-board {options.as_board!r} {problem}; choose another")
    grows = to.is_dir()
    facts = read_facts(to) if grows else BoardFacts(version=1, licence=LICENCE)
    plugins = plugins_of(run)
    if plugins:
        raise UsageError(f"the run was made with the plug-in {plugins[0]}; submit it to a board without --as-board")
    with packing(run, to, facts, plugins) as packed:
        broken = list(of_one(packed, to.name))
        if grows:
            broken += of_two(to, packed, to.name, changelog="")
        if broken:
            return _refused(map(str, broken))
        if not recompute(packed, options.recompute, options.images or IMAGES, options.data_root, str(run)):
            return _refused(["what was computed again differs, see above"])
        put(packed, to)
    _say_packed(to, "commit it, and give it an excerpt in README.md beside it")
    return 0


def _say_packed(to: Path, following: str) -> None:
    whole, weights = size_of(to)
    say(f"packed {to}: {size_words(whole)}, of which {size_words(weights)} are weights; {following}")


def _say(fit: Fit) -> None:
    say(f"fits {fit.words}")
    for line in fit.why:
        say(f"  {line}")


def _refused(lines: Iterable[str]) -> int:
    found = list(lines)
    for line in found[:MOST]:
        tell(f"not packed: {line}")
    if len(found) > MOST:
        tell(f"not packed: and {len(found) - MOST} more of the kind")
    return 1


def plugins_of(run: Path) -> list[Path]:
    """The plug-in files that a run was made with; raises UsageError where one is not there."""
    found: dict[Path, None] = {}
    for store in stores_of(run).values():
        found |= dict.fromkeys(named_plugins(store.plan().argv))
    for path in found:
        if problem := not_a_file(path):
            raise UsageError(f"plug-in {path} of the run {problem}; say where it is with --plugin")
    return list(found)


def load_all(plugins: Sequence[Path]) -> None:
    """Load plug-in files, so that what they register is known."""
    for path in plugins:
        load_plugin(path)
