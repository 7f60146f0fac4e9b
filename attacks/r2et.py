"""The attacks of R2ET, Chen et al., NeurIPS 2024: on the gap around rank k, or on the distance of maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.descent import sum_normalized
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import scores
from attrobust.attacks.published.on_loss import OnLoss
from attrobust.attacks.published.variants import by_variant
from attrobust.maps.lengths import PIXELS
from attrobust.maps.lengths import unit as direction
from attrobust.networks.smoothed import input_scale
from attrobust.types import Amount

SHIFT = 1e-2


@register("r2et")
@dataclass(frozen=True, kw_only=True)
class R2ET(OnLoss):
    """Least gap around rank k, ``min Σ_{i in top k} S_i(x') - Σ_{j in the next k} S_j(x')``, or the farthest map.

    The loss ``ranking`` is R2ET's training loss, a sum over pairs: of every pixel above rank k with that at rank k, and
    of this one with every pixel as far below it; ranks are those of the clean map. ``mse`` is the distance of the maps.
    Maps are divided by their sum.

    ``variant=paper`` attacks ``Σ_channels |∇_x CE(f(x), y)|`` in normalised units, not divided by a sum, in the network
    itself: of a ReLU network, only the softmax has curvature. Its steps have a fixed l2 length, in a box of ``steps``
    times that; the range of pixels and the threat model's ball do not bind it until the harness projects the result. It
    returns the last iterate, or, with ``stop``, the first that changes the prediction. Its distance,
    ``||g(x') - g(x) + 0.01||``, is that of the gradients with their signs and channels, and has a derivative at x.

    Attributes:
        loss: ``ranking`` or ``mse``.
        k: pixels above the gap, a count or a percentage; the official code has 100.
        steps: iterations; the official code has 100.
        step: l2 length of the official code's steps, in normalised units.
        stop: whether the official code stops an image where its prediction changes.
        differentiate, inverse_temperature, beta, pool, growth: see ``GradientAttack``; without effect on the official
            code.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    loss: Literal["ranking", "mse"] = "ranking"
    k: Amount = Amount(10, percent=True)
    steps: int = by_variant(corrected=50, paper=100)
    step: float = 5e-3
    stop: bool = True

    official_only: ClassVar[frozenset[str]] = frozenset({"step", "stop"})

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where fewer than k pixels are below rank k."""
        if 2 * self.k.of(height * width) > height * width:
            raise ValueError(f"k={self.k} leaves less than that below rank k in maps of {height}×{width}")

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """The loss, of maps divided by their sum."""
        clean = context.maps(x, y)
        if self.loss == "mse":
            return scores.normalized_l2(clean, by="sum")
        gap = self._gap(clean)
        return lambda maps: gap(sum_normalized(maps))

    def trajectory(self, context: Context, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """See ``LastIterate.trajectory``."""
        unit = input_scale(context.model)

        def reduce(maps: Tensor) -> Tensor:
            maps = maps * unit
            return maps.abs().sum(dim=1) if self.loss == "ranking" else maps.flatten(1, 2)

        paper_context = self.situation(context, reduce)
        clean = paper_context.maps(x, y)
        objective = self._gap(clean) if self.loss == "ranking" else _shifted_distance(clean)
        predicted, bound = paper_context.predict(x), self.step * self.steps * unit * torch.ones_like(x)
        stopped = torch.zeros_like(predicted, dtype=torch.bool)

        def update(current: Tensor, gradient: Tensor, _iteration: int) -> Tensor:
            moved = current - self.step * unit * direction(gradient * unit, PIXELS)
            moved = torch.where(stopped.view(-1, 1, 1, 1), current, x + (moved - x).clamp(-bound, bound))
            if self.stop:
                stopped.logical_or_(paper_context.predict(moved) != predicted)
            return moved

        for point, _, _ in self.iterates(paper_context, x, y, lambda maps, _: objective(maps), update):
            yield point

    def _gap(self, clean: Tensor) -> Objective:
        """Sum over the k largest pixels of the clean maps minus that over the next k."""
        k = self.k.of(clean[0].numel())
        order = clean.flatten(1).argsort(dim=1, descending=True, stable=True)

        def gap(maps: Tensor) -> Tensor:
            ranked = maps.flatten(1).gather(1, order[:, : 2 * k])
            return ranked[:, :k].sum(dim=1) - ranked[:, k:].sum(dim=1)

        return gap


def _shifted_distance(clean: Tensor) -> Objective:
    return lambda maps: -(maps - clean + SHIFT).flatten(1).norm(dim=1)
