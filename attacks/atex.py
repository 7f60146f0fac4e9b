"""The attack of ATEX, Tang et al. 2021: less mass on the largest pixels of a map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.descent import sum_normalized
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import mass
from attrobust.attacks.published.on_loss import OnLoss
from attrobust.attacks.published.variants import by_variant
from attrobust.types import Amount


@register("atex")
@dataclass(frozen=True, kw_only=True)
class Atex(OnLoss):
    """Least mass on the attacked map's own top k: ``min Σ_{i in top-k(S(x'))} S_i(x') / ΣS(x')`` (arXiv 2111.04303).

    ``variant=paper`` does not attack the scored map but ``|∇_x CE(f(x), y)|`` with all channels, in the network itself
    (of a ReLU network, only the softmax has curvature), and its largest entries are not divided by the sum. It steps by
    ``step g / max|g|`` from the clean image; an entry that has left the ball on either side is set to x + eps; a step
    that would change the prediction is not made, and neither is any after it, since the same step would follow. Pixels
    may leave [0, 1] until the harness projects the result. In the official code the images of a batch also share their
    thresholds; here each image is attacked alone.

    Attributes:
        k: pixels of the map, a count or a percentage; of the official map, of its pixels in all channels.
        steps: iterations; the official code has 200.
        step: largest change of a pixel by one step of the official code.
        differentiate, inverse_temperature, beta, pool, growth: see ``GradientAttack``; without effect on the official
            code.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    k: Amount = Amount(50, percent=False)
    steps: int = by_variant(corrected=50, paper=200)
    step: float = 0.02

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is every pixel of the map."""
        mass.check_some_left(self.k, height, width)

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:  # noqa: ARG002
        """Share of the map's mass that its k largest pixels have."""
        return lambda maps: self._peaks(sum_normalized(maps))

    def trajectory(self, context: Context, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """See ``LastIterate.trajectory``."""
        paper_context = self.situation(context, lambda maps: maps.flatten(1, 2))
        predicted, eps = paper_context.predict(x), paper_context.threat.eps

        def update(current: Tensor, gradient: Tensor, _iteration: int) -> Tensor:
            largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
            delta = current - self.step * gradient / largest - x
            moved = x + delta.masked_fill(delta.abs() > eps, eps)
            same_prediction = paper_context.predict(moved) == predicted
            return torch.where(same_prediction.view(-1, 1, 1, 1), moved, current)

        for point, _, _ in self.iterates(paper_context, x, y, lambda maps, _: self._peaks(maps), update):
            yield point

    def _peaks(self, maps: Tensor) -> Tensor:
        sizes = maps.abs().flatten(1)
        return sizes.topk(self.k.of(sizes.shape[1]), dim=1).values.sum(dim=1)
