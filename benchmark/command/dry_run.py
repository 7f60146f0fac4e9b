"""What ``--dry-run`` prints: where weights come from, what is done, and what the rest takes.

The first part is printed as soon as images are read, since trying out networks and passes may take longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrobust.benchmark.command.costs import cost_lines, count, duration, not_tried, warnings_of
from attrobust.files import size_words

if TYPE_CHECKING:
    from attrobust.benchmark.request.request import Request
    from attrobust.benchmark.run.estimate import Estimate
    from attrobust.benchmark.run.runner import Runner
    from attrobust.benchmark.run.shared import Shared
    from attrobust.benchmark.run.status import Left


def asked_for(requests: Sequence[Request]) -> str:
    """One line that says how much is asked for, before images are read."""
    first, runs = requests[0], len(requests)
    parts = [
        _plural(len(first.methods) + len(first.checkpoints), "network"),
        _plural(first.columns, "explainer"),
        _plural(len(first.attacks), "attack"),
        f"{_plural(first.protocol.images, 'image')} of {first.dataset.label}",
    ]
    several = f"; {runs} runs" if runs > 1 else ""
    return f"{first.protocol.name}: {', '.join(parts)}, {first.model.label}{several}\n"


def standing(runner: Runner, shared: Shared | None = None) -> str:
    """Where the weights of every row come from, and how far the run has come; nothing is tried out for it.

    Args:
        runner: of the run.
        shared: what earlier runs of a sweep compute; None where there are none.
    """
    left = shared.taken_from(runner.left) if shared else runner.left
    others = [job.source for job in runner.left.networks if job not in left.networks]
    lines = [f"{'method':<24} {'seed':>4}  {'weights':<9} {'cells done':>10}"]
    if shard := runner.request.shard:
        known = f"{sum(row.done for row in runner.status)}/{sum(row.cells for row in runner.status)} cells done"
        if runner.tuned is None:
            known = "measures all settings of explainers; what it computes of the table is known when they are chosen"
        if runner.request.criterion:
            known = "measures all members of sweeps; what it computes of the table is known when they are chosen"
        lines.insert(0, f"shard {shard}: {known}")
    for row in runner.status:
        subject, done = row.subject, f"{row.done}/{row.cells}"
        seed = "" if subject.seed is None else subject.seed
        role = f"  candidate of {subject.candidate_of}, on validation images" if subject.candidate_of else ""
        weights = "shared" if row.origin == "to train" and subject.source in others else row.origin
        lines.append(f"{subject.label:<24} {seed:>4}  {weights:<9} {done:>10}{role}")
    lines += tuning_lines(runner)
    for label, seed, origin in runner.source_models():
        lines.append(f"{label:<24} {seed:>4}  {origin:<9} {'':>10}  source model of attacks")
    for remote in (checkpoint.remote for checkpoint in runner.downloads()):
        if remote is not None:
            lines.append(f"download {remote.name}, {size_words(remote.size)}, from {remote.url}")
    return "\n".join(lines) + "\n"


def tuning_lines(runner: Runner) -> list[str]:
    """One line for every explainer whose settings are chosen: from what, and what was chosen where that is known."""
    if runner.tuner is None:
        return []
    done, cells = (sum(getattr(row, name) for row in runner.tuning_status) for name in ("done", "cells"))
    basis = f"best {runner.tuner.criterion.metric.label} on the first {runner.tuner.grid.images} validation images"
    shown = {choice.sweep: choice.shown for choice in runner.tuned or ()}
    lines = []
    for sweep in runner.tuner.criterion.sweeps:
        known = shown.get(sweep.text)
        what = f"{known} is chosen" if known else "to be chosen first; cells and costs are those of its first setting"
        lines.append(f"{sweep.text}: {what} ({basis}, {done}/{cells} cells done)")
    return lines


def expected(runner: Runner, *, started: float = 0.0, shared: Shared | None = None) -> str:
    """What the rest of a run takes; empty where nothing is left. Some seconds are spent to find out.

    Args:
        runner: of the run.
        started: seconds that the command takes until a run begins, as this one did.
        shared: what earlier runs of a sweep compute; None where there are none.
    """
    left = shared.taken_from(runner.left) if shared else runner.left
    estimate = runner.estimate(left)
    if estimate is None:
        return ""
    processes = len(runner.resources.devices)
    table = [*cost_lines(estimate, processes), *(f"warning: {line}" for line in warnings_of(runner, estimate))]
    return "\n".join(["", *table, "", *_costs(runner, left, estimate, started)]) + "\n"


def _costs(runner: Runner, left: Left, found: Estimate, started: float) -> list[str]:
    processes = len(runner.resources.devices)
    starting = started + found.starting
    most = max((batch.together for batch, _ in left.batches), default=runner.request.most_together)
    total = starting + (found.training + found.computing) / processes
    jobs = {
        "training": len(left.networks),
        "training of retraining metrics": len(left.retrainings),
        "audit": len(left.audits),
        "measurement of clean accuracy": len(left.accuracies),
        f"batch of at most {most} images": len(left.batches),
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
    return [*lines, *not_tried(found)]


def _plural(number: int, name: str) -> str:
    if number == 1:
        return f"1 {name}"
    first, _, rest = name.partition(" ")
    words = {"batch": "batches"}.get(first, f"{first}s")
    return f"{number} {words} {rest}".rstrip()
