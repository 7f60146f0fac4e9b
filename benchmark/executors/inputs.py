"""What cells and audits are computed with: the same images and rules for all networks of a run."""

from __future__ import annotations

from attrobust.benchmark.data.base import Split, partners
from attrobust.benchmark.evaluation.evaluate import Images, Rules
from attrobust.benchmark.request.request import Request
from attrobust.threat import ThreatModel
from attrobust.types import Cell


def images_of(split: Split, count: int) -> Images:
    """The first images of a split, each with another one of another class."""
    x, y = split.batch(range(count))
    masks = split.masks(range(count)) if split.has_masks else None
    return Images(x=x, y=y, partners=split.batch(partners(split, count))[0], masks=masks)


def rules_of(request: Request, cell: Cell) -> Rules:
    """The rules of a run, with the threat of one of its cells where it has one."""
    return Rules(
        threat=ThreatModel(**cell.threat) if cell.threat else request.protocol.threat,
        reduction=request.protocol.reduction,
        label=request.protocol.label,
        seed=request.protocol.evaluation_seed,
        batch_size=request.batch_size,
    )
