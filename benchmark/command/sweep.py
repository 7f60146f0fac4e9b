"""A command of several runs: radii, models, datasets, or parts of a protocol; all of them are in one table."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from tqdm import tqdm

from attrobust.benchmark.command.costs import said_before
from attrobust.benchmark.command.finished import Shown, shard_done, tables
from attrobust.benchmark.command.logs import logging_to
from attrobust.benchmark.executors.progress import command_bar
from attrobust.benchmark.request.axes import Combination
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.request.shard import Shard
from attrobust.benchmark.run.runner import Runner
from attrobust.benchmark.run.shared import Shared, shared_by
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.sweep import Sweep, SweptRun, take_over, write_sweep
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")


def folders(
    out: Path | None, protocol: str, combinations: Sequence[Combination], shard: Shard | None
) -> Sequence[Path | None]:
    """Where the run of each combination goes; None for the default of a single run.

    Args:
        out: as typed.
        protocol: its name.
        combinations: one where nothing sweeps.
        shard: see ``Request``.
    """
    if not combinations[0].words:
        return [out]
    # Of a protocol with parts, radii may be the parts' own.
    axes = [axis for axis in combinations[0].axes if not (combinations[0].part and axis == "eps")]
    by = f"-by-{'-'.join(axes)}" if axes else ""
    folder = out or Path("results") / "runs" / f"{protocol}{by}{shard.suffix if shard else ''}"
    return [folder / combination.folder for combination in combinations]


Begun = Callable[[Runner, Sequence[Runner], str], None]
"""Called with a run of which is known how far it has come, the runs before it, and the line that is its title."""


def runners_of(
    requests: Sequence[Request],
    combinations: Sequence[Combination],
    argv: list[str],
    begun: Begun = lambda *_: None,
) -> list[Runner]:
    """What carries out the run of each combination; whatever is wrong with any of them is found here.

    Args:
        requests: one for each combination.
        combinations: one where nothing sweeps.
        argv: as typed.
        begun: called for each run, before networks and explainers are tried out.

    Raises:
        UsageError: see ``Runner``; or two combinations are the same, or the sweep's folder holds a single run.
    """
    if not combinations[0].words:
        return [Runner(requests[0], argv, said=lambda runner: begun(runner, [], ""))]
    folder = requests[0].out.parent
    if any((folder / name).is_file() for name in ("run.json", "rows.jsonl")):
        raise UsageError(f"--out {folder} holds a single run; give the sweep another folder")
    runners: list[Runner] = []
    for request, combination in zip(requests, combinations, strict=True):
        for other, known in zip(runners, combinations, strict=False):
            if _is_same(request, other.request):
                raise UsageError(f"{combination.words} is the same as {known.words}")
        twin = next((other for other in runners if other.request.dataset.canonical == request.dataset.canonical), None)
        try:
            said = functools.partial(_titled, begun, tuple(runners), combination)
            runners.append(Runner(request, argv, data=twin.data if twin else None, said=said))
        except UsageError as error:
            raise UsageError(f"{combination.words}: {error}") from error
    return runners


def _titled(begun: Begun, earlier: Sequence[Runner], combination: Combination, runner: Runner) -> None:
    begun(runner, earlier, f"-- {combination.words}\n")


def run_all(
    runners: Sequence[Runner], combinations: Sequence[Combination], formats: Sequence[str], shown: Shown
) -> list[str]:
    """Carry out all runs, one after the other, and write the tables of all; returns one line for every failure.

    What runs with the same images and networks have in common is computed once: weights, and what is measured without
    an attack. Shipped weights that have to be downloaded are so before anything is computed.

    Raises:
        UsageError: a download fails.
    """
    for runner in runners:
        for checkpoint in runner.downloads():
            checkpoint.fetch()
    failures = []
    first, folder = runners[0].request, runners[0].store.folder.parent
    swept = bool(combinations[0].words)
    # Whoever writes the record of a sweep may write its tables too, so that no other command replaces it meanwhile.
    with Store(folder).held() if swept else nullcontext(), command_bar([runner.images for runner in runners]) as bar:
        if swept:
            runs = tuple(
                SweptRun(folder=item.folder, words=item.words, part=item.part, table=item.table)
                for item in combinations
            )
            write_sweep(folder, Sweep(runs=runs, argv=tuple(runners[0].argv)))
        for index, (runner, combination) in enumerate(zip(runners, combinations, strict=True)):
            store, words = runner.store, combination.words
            bar.begin(index)
            if swept:
                tqdm.write(f"-- {words} ({index + 1} of {len(runners)})", file=sys.stderr)
            with closing(runner.executor()) as executor, store.locked(), logging_to(store.folder / "log.txt"):
                for other in runners[:index]:
                    if _same_images_and_networks(runner.request, other.request):
                        take_over(store, other.store, same_threat=_same_threat(runner.request, other.request))
                for line in said_before(runner):
                    LOG.info("%s", line)
                failures += [f"{words}: {line}" if swept else line for line in runner.run(executor)]
                bar.end(index)
                if first.shard:
                    shard_done(store, as_json=shown == Shown.JSON)
                else:
                    tables(store.folder, formats, first.interval, Shown.NOTHING if swept else shown)
        if swept and not first.shard:
            tables(folder, formats, first.interval, shown)
    return failures


def shared_with(runner: Runner, earlier: Sequence[Runner]) -> Shared:
    """What earlier runs of the sweep obtain that this one need not."""
    return shared_by([other.left for other in earlier if _same_images_and_networks(runner.request, other.request)])


def _same_images_and_networks(request: Request, other: Request) -> bool:
    pairs = ((request.dataset, other.dataset), (request.model, other.model))
    return all(mine.canonical == theirs.canonical for mine, theirs in pairs)


def _same_threat(request: Request, other: Request) -> bool:
    return request.protocol.threat == other.protocol.threat


def _is_same(request: Request, other: Request) -> bool:
    """Whether two runs would compute the same rows."""
    return _same_images_and_networks(request, other) and _rows_of(request) == _rows_of(other)


def _rows_of(request: Request) -> list[object]:
    protocol = request.protocol
    components = (request.methods, request.explainers, request.attacks, request.metrics)
    attack = request.accuracy_attack.canonical if request.accuracy_attack else None
    settings = (protocol.images, protocol.label, protocol.reduction, protocol.evaluation_seed)
    rows = (protocol.seeds, protocol.baselines)
    return [protocol.threat, attack, settings, rows, *([item.canonical for item in listed] for listed in components)]
