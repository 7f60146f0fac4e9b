"""Feasibility: the best feasible iterate, and how steps are kept inside the decision region."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.maps.rows import is_constant, is_finite

Objective = Callable[[Tensor], Tensor]
"""Maps B×H×W to one number per image, float[B]: smaller is a stronger attack."""


HALVINGS = 4
"""Bisections that shorten a step which leaves the decision region."""


class BestFeasible:
    """The iterate of lowest score, image by image, among those that are feasible.

    A point is feasible if it lies in ball and box and, where the threat model requires it, keeps the prediction of the
    scored network. The clean images are the first iterate, so the result is never worse than no attack. Every iterate
    is passed to the context's observer.

    Args:
        context: threat model, network and explainer.
        x: clean images, B×C×H×W.
        y: explained classes, int64[B].
        score: objective, of the scored network's maps.

    Attributes:
        x: the best so far.
        score: of these, float[B].
        predicted: the class to keep, int64[B].
        margin: of the clean images, float[B]; see ``margins``.
    """

    def __init__(self, context: Context, x: Tensor, y: Tensor, score: Objective) -> None:
        self._context, self._y, self._origin, self._of = context, y, x, score
        clean, logits = context.maps_and_logits(x, y)
        self.predicted = logits.argmax(dim=1)
        self.margin = margins(logits, self.predicted)
        self.x = x.clone()
        self.score = score(clean).detach()

    def offer(self, x: Tensor, maps: Tensor | None = None, logits: Tensor | None = None) -> Tensor:
        """Keep ``x`` where it is feasible and its score is lower.

        Args:
            x: B×C×H×W.
            maps, logits: of ``x`` on the scored network, if both are known already.

        Returns:
            The score of ``x``, float[B], infinite where it is not feasible or its map is constant or not finite.
        """
        context = self._context
        if maps is None or logits is None:
            maps, logits = context.maps_and_logits(x, self._y)
        maps = maps.detach()
        feasible = context.threat.contains(self._origin, x)
        if context.threat.keep_prediction:
            feasible &= logits.argmax(dim=1) == self.predicted
        if context.observer is not None:
            context.observer(context, x, maps, feasible)
        score = defined_score(self._of, maps).nan_to_num(nan=torch.inf)
        score = score.masked_fill(~feasible, torch.inf)
        better = score < self.score
        self.x = torch.where(better.view(-1, 1, 1, 1), x.detach(), self.x)
        self.score = torch.where(better, score, self.score)
        return score

    def over_restarts(self, count: int) -> Tensor:
        """The best of ``count`` restarts of each image, B×C×H×W, where the batch holds one restart after the other."""
        winner = self.score.view(count, -1).argmin(dim=0)
        return self.x.view(count, -1, *self.x.shape[1:])[winner, torch.arange(len(winner), device=winner.device)]


def defined_score(score: Objective, maps: Tensor) -> Tensor:
    """The score of maps, float[B]; NaN where a map is constant or not finite, for which scores are undefined."""
    rows = maps.detach().flatten(1)
    usable = is_finite(rows) & ~is_constant(rows)
    return score(maps).detach().masked_fill(~usable, torch.nan)


def margins(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit of a class minus the largest other logit, float[B]; negative where another class is predicted."""
    own = logits.gather(1, classes[:, None]).squeeze(1)
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return own - others.amax(dim=1)


def retreat(context: Context, inside: Tensor, outside: Tensor, predicted: Tensor, halvings: int = HALVINGS) -> Tensor:
    """Points on the line from ``inside`` to ``outside`` that keep the prediction, found by bisection, B×C×H×W.

    Args:
        context: whose network predicts.
        inside: points where the prediction is kept.
        outside: points of the same ball where it is not.
        predicted: the class to keep, int64[B].
        halvings: number of bisections; one forward pass each.
    """
    low = torch.zeros(len(inside), 1, 1, 1, dtype=inside.dtype, device=inside.device)
    high = torch.ones_like(low)
    for _ in range(halvings):
        middle = (low + high) / 2
        same_prediction = (context.predict(torch.lerp(inside, outside, middle)) == predicted).view(-1, 1, 1, 1)
        low, high = torch.where(same_prediction, middle, low), torch.where(same_prediction, high, middle)
    return torch.lerp(inside, outside, low)


def along_boundary(gradient: Tensor, margin_gradient: Tensor) -> Tensor:
    """The gradient without its component whose descent would lower the margin, B×C×H×W.

    Args:
        gradient: of the objective.
        margin_gradient: of the margin; zero for images far from the boundary.
    """
    flat, toward = gradient.flatten(1), margin_gradient.flatten(1)
    lowering = (flat * toward).sum(dim=1).clamp_min(0.0)
    share = lowering / toward.square().sum(dim=1).clamp_min(torch.finfo(toward.dtype).tiny)
    return (flat - share[:, None] * toward).view_as(gradient)
