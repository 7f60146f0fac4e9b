"""What ``--dry-run`` prints: where weights come from, what is done, and what the rest takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.files import size_words

if TYPE_CHECKING:
    from attrobust.benchmark.run.estimate import Estimate
    from attrobust.benchmark.run.runner import Runner
    from attrobust.benchmark.run.shared import Shared
    from attrobust.benchmark.run.status import Left

LONG = 60
"""Of seconds and of minutes, what is said in the next unit."""


def dry_run(runner: Runner, *, started: float = 0.0, shared: Shared | None = None) -> str:
    """The text; some seconds are spent on an estimate where there is something to do.

    Args:
        runner: of the run.
        started: seconds that the command takes until a run begins, as this one did.
        shared: what earlier runs of a sweep compute; None where there are none.
    """
    left = shared.taken_from(runner.left) if shared else runner.left
    others = [job.source for job in runner.left.networks if job not in left.networks]
    lines = [f"{'method':<24} {'seed':>4}  {'weights':<9} {'cells done':>10}"]
    if shard := runner.request.shard:
        known = f"{sum(row.done for row in runner.status)}/{sum(row.cells for row in runner.status)} cells done"
        if runner.request.criterion:
            known = "measures all members of sweeps; what it computes of the table is known when they are chosen"
        lines.insert(0, f"shard {shard}: {known}")
    for row in runner.status:
        subject, done = row.subject, f"{row.done}/{row.cells}"
        seed = "" if subject.seed is None else subject.seed
        role = f"  candidate of {subject.candidate_of}, on validation images" if subject.candidate_of else ""
        weights = "shared" if row.origin == "to train" and subject.source in others else row.origin
        lines.append(f"{subject.label:<24} {seed:>4}  {weights:<9} {done:>10}{role}")
    for label, seed, origin in runner.source_models():
        lines.append(f"{label:<24} {seed:>4}  {origin:<9} {'':>10}  source model of attacks")
    for remote in (checkpoint.remote for checkpoint in runner.downloads()):
        if remote is not None:
            lines.append(f"download {remote.name}, {size_words(remote.size)}, from {remote.url}")
    estimate = runner.estimate(left)
    if estimate is not None:
        lines += ["", *_costs(runner, left, estimate, started)]
    return "\n".join(lines) + "\n"


def _costs(runner: Runner, left: Left, found: Estimate, started: float) -> list[str]:
    processes = len(runner.resources.devices)
    starting = started + found.starting
    total = starting + (found.training + found.computing) / processes
    jobs = {
        "training": len(left.networks),
        "training of retraining metrics": len(left.retrainings),
        "audit": len(left.audits),
        "measurement of clean accuracy": len(left.accuracies),
        f"batch of at most {runner.request.batch_size} images": len(left.batches),
    }
    passes = [f"{count(found.forward)} forward", f"{count(found.backward)} backward"]
    passes.append(f"{count(found.double_backward)} double backward")
    time = f"time     about {duration(total)} with {runner.resources.words}"
    if runner.request.cluster:
        time += " of this machine, divided by the jobs that nodes carry out at once"
    if left.networks or left.retrainings:
        time += f", trainings {duration(found.training / processes)}"
    disk = f"disk     at most {size_words(found.kept + found.scores)}"
    lines = [
        f"jobs     {', '.join(_plural(number, name) for name, number in jobs.items() if number) or 'none'}",
        f"passes   {', '.join(passes)}, of one image each, trainings apart",
        f"{time}, starting {duration(starting)}",
        f"{disk}, attacked images {size_words(found.kept)} (see --keep-images)" if found.kept else disk,
    ]
    if found.unknown:
        lines.append(f"besides  not tried out: {', '.join(dict.fromkeys(found.unknown))}")
    return lines


def _plural(number: int, name: str) -> str:
    if number == 1:
        return f"1 {name}"
    first, _, rest = name.partition(" ")
    words = {"batch": "batches"}.get(first, f"{first}s")
    return f"{number} {words} {rest}".rstrip()


def duration(seconds: float) -> str:
    """Seconds in the unit that suits: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < LONG:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < LONG else f"{minutes / 60:.1f} h"


def count(number: float) -> str:
    """A number of passes: ``950``, ``12 thousand``, ``3.4 million``."""
    for power, word in ((9, "billion"), (6, "million")):
        if number >= 10**power:
            return f"{number / 10**power:.1f} {word}"
    return f"{number / 1000:.0f} thousand" if number >= 10000 else f"{number:.0f}"
