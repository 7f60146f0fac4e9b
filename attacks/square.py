"""A query attack by random search over squares: the Square Attack on explanations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import trange

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import BestFeasible
from attrobust.attacks.engine.scored import Scored
from attrobust.naming.checks import at_least
from attrobust.threat import ThreatModel

SHRINKING = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the queries after which the squares' area is halved."""


@register("square")
@dataclass(frozen=True, kw_only=True)
class Square(Scored):
    """Lowest score by random search over squares, a black-box attack that only queries maps.

    For linf this is the Square Attack (arXiv 1912.00049, algorithms 1 and 2): the perturbation starts as vertical
    stripes of ±eps, and every query sets each channel of a random square to ±eps. For l2 a query adds to a random
    square ±eps times a pyramid of l2 norm 1 in each channel, and a perturbation longer than eps is scaled to eps; the
    original removes the excess from a second square instead. A query's image is kept where its score is lower and its
    prediction is unchanged.

    Attributes:
        queries: maps computed per image.
        area: of the first squares, as a share of the image's; it is halved as the search goes on.
    """

    queries: int = 1000
    area: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "queries")
        if not 0 < self.area <= 1:
            raise ValueError(f"area={self.area:g} must be above 0 and at most 1")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        threat, streams = context.threat, context.streams("square")
        best = BestFeasible(context, x, y, self.objective(context, x, y))
        stripes = streams.uniform(x[:, :, :1]).sign().expand_as(x)
        best.offer(threat.scatter(x, stripes))
        for query in trange(1, self.queries, desc="queries", leave=False, disable=None):
            share = self.area / 2 ** sum(query > start * self.queries for start in SHRINKING)
            best.offer(change(threat, x, best.x, share, streams.uniform(x.new_empty(len(x), 2 + x.shape[1]))))
        return best.x


def change(threat: ThreatModel, x: Tensor, current: Tensor, area: float, chance: Tensor) -> Tensor:
    """Change a random square of each image.

    Args:
        threat: norm and eps of the change.
        x: clean images, B×C×H×W.
        current: the images so far.
        area: of the squares, as a share of the image's.
        chance: random numbers uniform on [-1, 1], B×(2+C): position and signs.

    Returns:
        Points of the ball and the box, B×C×H×W.
    """
    height, width = x.shape[-2:]
    side = min(max(1, round(math.sqrt(area * height * width))), height, width)
    room = torch.tensor([height - side + 1, width - side + 1], device=x.device)
    corner = ((chance[:, :2].double() + 1) / 2 * room).long().clamp_max(room - 1)
    signs = torch.where(chance[:, 2:] < 0, -1.0, 1.0).to(x)[:, :, None, None]
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    down, right = rows - corner[:, :1], columns - corner[:, 1:]
    if threat.norm == "l2":
        bump = _tent(down, side)[:, None, :, None] * _tent(right, side)[:, None, None, :]
        return threat.project(x, current + threat.eps * signs * bump.to(x))
    inside = ((down >= 0) & (down < side))[:, None, :, None] & ((right >= 0) & (right < side))[:, None, None, :]
    return threat.project(x, torch.where(inside, x + threat.eps * signs, current))


def _tent(offset: Tensor, side: int) -> Tensor:
    """A triangle over offsets 0 to ``side - 1``, zero outside, of l2 norm 1, B×N."""
    height = (torch.minimum(offset + 1, side - offset)).clamp_min(0).double()
    length: Tensor = height.norm(dim=1, keepdim=True)
    return height / length
