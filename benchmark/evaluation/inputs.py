"""What an evaluation is given: images, the rules common to all cells, and results of attacks that are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attrobust.attacks.base import AttackOutput
from attrobust.images import check_pixels
from attrobust.maps.reduction import Reduction
from attrobust.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Images:
    """The fixed list of images that every model is scored on.

    Attributes:
        x: B×C×H×W in [0, 1].
        y: true classes, int64[B].
        partners: for each image another one, of another class, B×C×H×W.
        masks: object masks, bool B×H×W; None where the dataset has none.

    Raises:
        ValueError: images are not floats B×C×H×W, finite and in [0, 1], or classes and masks are not one for each.
    """

    x: Tensor
    y: Tensor
    partners: Tensor
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        check_pixels(self.x, "images")
        check_pixels(self.partners, "partners")
        count, _, height, width = self.x.shape
        if self.partners.shape != self.x.shape:
            raise ValueError(f"partners are {_shape(self.partners)}, the images {_shape(self.x)}")
        if self.y.shape != (count,) or self.y.dtype != torch.int64:
            raise ValueError(
                f"classes must be int64, one for each of {count} images, not {self.y.dtype} {_shape(self.y)}"
            )
        masks = self.masks
        if masks is not None and (masks.shape != (count, height, width) or masks.dtype != torch.bool):
            raise ValueError(f"masks must be bool {count}×{height}×{width}, not {masks.dtype} {_shape(masks)}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: range) -> Images:
        """Some of the images."""
        chosen = list(rows)
        masks = None if self.masks is None else self.masks[chosen]
        return Images(x=self.x[chosen], y=self.y[chosen], partners=self.partners[chosen], masks=masks)


class ImageList(Protocol):
    """A fixed list of images that is handed out in parts, so that it need not be in memory."""

    def __len__(self) -> int: ...

    def take(self, rows: range) -> Images:
        """Some of the images."""


class Kept(Protocol):
    """Results of the attack from an earlier evaluation, and a place for new ones."""

    def find(self, x: Tensor) -> AttackOutput | None:
        """The results for these clean images, B×C×H×W, on their device; None where they have to be computed."""

    def keep(self, x: Tensor, output: AttackOutput) -> None:
        """Take in the results for clean images."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings common to all cells of a run: threat model, reduction, explained class, seed, batch size."""

    threat: ThreatModel
    reduction: Reduction
    label: str
    seed: int
    batch_size: int


def _shape(x: Tensor) -> str:
    return "×".join(map(str, x.shape))
