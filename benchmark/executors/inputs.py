"""What cells and audits are computed with: the same images and rules for all networks of a run."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attrobust.benchmark.data.base import Split, partners
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.store.provenance import stamp
from attrobust.benchmark.store.rows import Provenance
from attrobust.threat import ThreatModel
from attrobust.types import Cell


@dataclass(frozen=True)
class FirstImages:
    """The first images of a split, each with another one of another class, read when they are taken.

    Attributes:
        split: whose images.
        partners: the position of every image's partner.
    """

    split: Split
    partners: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.partners)

    def take(self, rows: range) -> Images:
        """Some of the images."""
        x, y = self.split.batch(rows)
        masks = self.split.masks(rows) if self.split.has_masks else None
        return Images(x=x, y=y, partners=self.split.batch([self.partners[row] for row in rows])[0], masks=masks)


def images_of(split: Split, count: int) -> FirstImages:
    """The first images of a split."""
    return FirstImages(split, tuple(partners(split, count)))


def stamp_of(request: Request, together: int | None = None) -> Provenance:
    """What computes a run, in this process and now.

    Args:
        request: of the run.
        together: images attacked together; None for as many as the run takes at most.
    """
    return stamp(str(request.device), torch.get_num_threads(), together or request.most_together)


def rules_of(request: Request, cell: Cell) -> Rules:
    """The rules of a run, with the threat of one of its cells where it has one."""
    return Rules(
        threat=ThreatModel(**cell.threat) if cell.threat else request.protocol.threat,
        reduction=request.protocol.reduction,
        label=request.protocol.label,
        seed=request.protocol.evaluation_seed,
        batch_size=request.most_together,
    )
