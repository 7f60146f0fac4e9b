"""Shares of a plan, for commands that know nothing of each other: blocks of cells in the order of the table.

Blocks are about equal in cost. A network that is trained counts in every block that needs it, so that few are trained
more than once. What is on disk already does not move blocks, or a command that goes on would compute another share.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.executors.base import Job
from attrobust.benchmark.executors.jobs import AuditJob, ClaimJob, NetworkJob
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.request.shard import Shard
from attrobust.benchmark.run.cells import PlacedCell, rows_of
from attrobust.benchmark.run.costs import PASSES, passes
from attrobust.benchmark.run.plan import Part, Plan
from attrobust.benchmark.training.job import TrainingJob

Weigh = Callable[[NetworkJob], int]
"""What it costs to obtain a network, in passes of one image; 0 where nothing is trained, whatever is on disk."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What of a plan is a shard's.

    Attributes:
        plan: its cells, and what has to be done before.
        starts: for every shard, how many entries of the table come before its first.
    """

    plan: Plan
    starts: tuple[int, ...]


def share(plan: Plan, shard: Shard, training: int, weigh: Weigh) -> Share:
    """The part of a plan that a shard carries out.

    Args:
        plan: of the whole table.
        shard: which.
        training: passes of one image in a training of a retraining metric.
        weigh: see ``Weigh``.
    """
    cells = [cell.job for part in plan.parts for cell in part.cells]
    networks = [[network for network in (cell.network, cell.source_model) if network] for cell in cells]
    weights = {network.key: weigh(network) for needed in networks for network in needed}
    needed = [{network.key: weights[network.key] for network in some} for some in networks]
    costs = [passes(cell, training) for cell in cells]
    edges = blocks(costs, needed, shard.count)
    rows = [0, *itertools.accumulate(len(rows_of(cell)) for cell in cells)]
    first, last = edges[shard.number - 1], [*edges, len(cells)][shard.number]
    counted = itertools.count()
    parts = [_part(part, [cell for cell in part.cells if first <= next(counted) < last]) for part in plan.parts]
    return Share(plan=Plan(parts=tuple(part for part in parts if part.cells)), starts=tuple(rows[i] for i in edges))


def weigher(networks: Networks, images: int) -> Weigh:
    """What trainings cost that go over so many images.

    Args:
        networks: of the run, which know whose weights come with attrobust.
        images: of the training split.
    """

    def weigh(network: NetworkJob) -> int:
        before = network.source if isinstance(network.source, TrainingJob) else None
        epochs = 0
        while before and networks.origin(before)[0] not in ("shipped", "download"):
            epochs, before = epochs + before.epochs, before.before
        return PASSES * epochs * images

    return weigh


def blocks(costs: Sequence[int], needed: Sequence[dict[str, int]], count: int) -> list[int]:
    """Where each of ``count`` blocks of cells starts, so that the most expensive one costs as little as it can.

    Args:
        costs: of every cell.
        needed: by key, what else every cell needs and its cost, which a block pays once.
        count: of blocks; some are empty where a few cells cost more than all others.
    """
    low, high = 0, sum(costs) + sum(sum(some.values()) for some in needed)
    while low < high:
        middle = (low + high) // 2
        found = _filled(costs, needed, middle)
        low, high = (low, middle) if found is not None and len(found) <= count else (middle + 1, high)
    starts = _filled(costs, needed, high) or []
    return starts + [len(costs)] * (count - len(starts))


def _filled(costs: Sequence[int], needed: Sequence[dict[str, int]], limit: int) -> list[int] | None:
    """Where blocks start of which each holds as many cells as cost no more than a limit; None where one costs more."""
    starts: list[int] = []
    paid: dict[str, int] = {}
    total = 0
    for index, (cost, some) in enumerate(zip(costs, needed, strict=True)):
        more = cost + sum(price for key, price in some.items() if key not in paid)
        if not starts or total + more > limit:
            starts.append(index)
            total, paid, more = 0, {}, cost + sum(some.values())
        if more > limit:
            return None
        total += more
        paid |= some
    return starts


def _part(part: Part, cells: Sequence[PlacedCell]) -> Part:
    """A row of the table with some of its cells, and no job that none of them needs."""
    by_key = {job.key: job for job in part.jobs}
    own = {job.key for cell in cells for job in (*cell.parts, cell.job)}
    audits = {cell.job.audit for cell in cells}
    networks: set[str] = set()
    wanted = [network.key for cell in cells for network in (cell.job.network, cell.job.source_model) if network]
    while wanted:
        networks.add(key := wanted.pop())
        wanted += by_key[key].needs

    def kept(job: Job) -> Job | None:
        if isinstance(job, AuditJob):
            # Networks that only cells of other shards need are not obtained for it.
            return replace(job, needs=tuple(key for key in job.needs if key in networks)) if job.key in audits else None
        held = own.issuperset(set(job.needs) - networks) if isinstance(job, ClaimJob) else job.key in own | networks
        return job if held and cells else None

    return replace(
        part,
        cells=tuple(cells),
        source_models={name: job for name, job in part.source_models.items() if job.key in networks},
        jobs=tuple(job for job in map(kept, part.jobs) if job),
    )
