"""Least mass around the most important pixels: the attack of LENS, Kamath et al., AAAI 2024."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.attacks import register
from attrobust.attacks.topk import TopK


@register("lens")
@dataclass(frozen=True, kw_only=True)
class Lens(TopK):
    """Least mass on windows around the clean map's top k, so that pixels move out of them (arXiv 2312.10534).

    The objective is that of ``topk``, over the k pixels and all others of w×w windows around them. ``variant=paper``
    has the official windows, which are made of positions in the flattened map: they go on in the next row at the right
    and the left edge, and never hold the first pixel. Its steps are those of ``topk``'s paper.

    Attributes:
        window: w, odd; the paper takes 3, 5 and 7.
        k, steps, step, beta, pool, growth: see ``topk``.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    window: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"window={self.window} must be odd and at least 1")

    def emptied(self, maps: Tensor) -> Tensor:
        """The k pixels and the windows around them, bool B×H×W."""
        widen = flat_windows if self.variant == "paper" else windows
        return widen(super().emptied(maps), self.window)


def windows(chosen: Tensor, width: int) -> Tensor:
    """All pixels of the width×width windows around those chosen, bool B×H×W."""
    return F.max_pool2d(chosen.float(), width, stride=1, padding=width // 2) > 0


def flat_windows(chosen: Tensor, width: int) -> Tensor:
    """Windows of the official code: on flattened positions, across the edges, and without the first pixel."""
    rows = chosen.flatten(1)
    size, half = rows.shape[1], width // 2
    wide = torch.zeros_like(rows)
    for down in range(-half, half + 1):
        for right in range(-half, half + 1):
            offset = down * chosen.shape[2] + right
            if abs(offset) < size:
                wide[:, max(0, offset) : size + min(0, offset)] |= rows[:, max(0, -offset) : size - max(0, offset)]
    wide[:, 0] = False
    return wide.view_as(chosen)
