"""A command whose options list several radii, models or datasets: one run for each combination, one table of all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from attrobust.benchmark.command.finished import shard_done, tables
from attrobust.benchmark.command.logs import logging_to
from attrobust.benchmark.request.axes import Combination
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.request.shard import Shard
from attrobust.benchmark.run.runner import Runner
from attrobust.benchmark.store.sweep import Sweep, SweptRun, take_over, write_sweep
from attrobust.types import UsageError


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
    if len(combinations) == 1:
        return [out]
    axes = "-".join(combinations[0].axes)
    folder = out or Path("results") / "runs" / f"{protocol}-by-{axes}{shard.suffix if shard else ''}"
    return [folder / combination.folder for combination in combinations]


def runners_of(requests: Sequence[Request], combinations: Sequence[Combination], argv: list[str]) -> list[Runner]:
    """What carries out the run of each combination; whatever is wrong with any of them is found here.

    Raises:
        UsageError: see ``Runner``; or two combinations are the same, or the sweep's folder holds a single run.
    """
    if len(requests) == 1:
        return [Runner(requests[0], argv)]
    folder = requests[0].out.parent
    if any((folder / name).is_file() for name in ("run.json", "rows.jsonl")):
        raise UsageError(f"--out {folder} holds a single run; give the sweep another folder")
    runners: list[Runner] = []
    for request, combination in zip(requests, combinations, strict=True):
        for other, known in zip(runners, combinations, strict=False):
            same_threat = request.protocol.threat == other.request.protocol.threat
            if same_threat and _same_images_and_networks(request, other.request):
                raise UsageError(f"{combination.words} is the same as {known.words}")
        twin = next((other for other in runners if other.request.dataset.canonical == request.dataset.canonical), None)
        try:
            runners.append(Runner(request, argv, data=twin.data if twin else None))
        except UsageError as error:
            raise UsageError(f"{combination.words}: {error}") from error
    return runners


def run_all(
    runners: Sequence[Runner], combinations: Sequence[Combination], formats: Sequence[str], *, as_json: bool
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
    if swept := len(runners) > 1:
        runs = tuple(SweptRun(folder=item.folder, words=item.words) for item in combinations)
        write_sweep(folder, Sweep(runs=runs, argv=tuple(runners[0].argv)))
    for index, (runner, combination) in enumerate(zip(runners, combinations, strict=True)):
        store, words = runner.store, combination.words
        if swept:
            sys.stderr.write(f"-- {words} ({index + 1} of {len(runners)})\n")
        with closing(runner.executor()) as executor, store.locked(), logging_to(store.folder / "log.txt"):
            for other in runners[:index]:
                if _same_images_and_networks(runner.request, other.request):
                    take_over(store, other.store)
            failures += [f"{words}: {line}" if swept else line for line in runner.run(executor)]
            if first.shard:
                shard_done(store, as_json=as_json)
            else:
                tables(store.folder, formats, first.interval, as_json=as_json, printed=not swept)
    if swept and not first.shard:
        tables(folder, formats, first.interval, as_json=as_json)
    return failures


def shares_networks(runner: Runner, earlier: Sequence[Runner]) -> bool:
    """Whether an earlier run of the sweep obtains the same networks."""
    return any(_same_images_and_networks(runner.request, other.request) for other in earlier)


def _same_images_and_networks(request: Request, other: Request) -> bool:
    pairs = ((request.dataset, other.dataset), (request.model, other.model))
    return all(mine.canonical == theirs.canonical for mine, theirs in pairs)
