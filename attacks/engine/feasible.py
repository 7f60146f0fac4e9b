"""The prediction as a hard constraint: best legal iterates, and the way back into the decision region."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrobust.attacks.base import Context

Objective = Callable[[Tensor], Tensor]
"""Maps B×H×W to one number per image, float[B]: smaller is a stronger attack."""


HALVINGS = 4
"""Bisections that shorten a step out of the decision region."""


class BestLegal:
    """The iterate of lowest score, image by image, among those that are legal.

    Legal is what lies in ball and box and, where that is asked, keeps the prediction of the scored network. Starts with
    the clean images, so an attack never returns anything worse than doing nothing. Every legal iterate is shown to the
    context's observer.

    Args:
        context: rules and network.
        x: clean images, B×C×H×W.
        y: explained classes, int64[B].
        score: of the scored network's maps.

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
        """Keep ``x`` where it is legal and better.

        Args:
            x: B×C×H×W.
            maps, logits: of ``x`` on the scored network, both, where they are known.

        Returns:
            The score of ``x``, float[B], infinite where it is not legal or its map is not finite or constant.
        """
        context = self._context
        if maps is None or logits is None:
            maps, logits = context.maps_and_logits(x, self._y)
        maps = maps.detach()
        legal = context.threat.contains(self._origin, x)
        if context.threat.keep_prediction:
            legal &= logits.argmax(dim=1) == self.predicted
        if context.observer is not None:
            context.observer(context, x, maps, legal)
        score = defined_score(self._of, maps).nan_to_num(nan=torch.inf)
        score = score.masked_fill(~legal, torch.inf)
        better = score < self.score
        self.x = torch.where(better.view(-1, 1, 1, 1), x.detach(), self.x)
        self.score = torch.where(better, score, self.score)
        return score

    def over_restarts(self, count: int) -> Tensor:
        """Of images that were taken ``count`` times, one whole batch after the other, the best of each, B×C×H×W."""
        winner = self.score.view(count, -1).argmin(dim=0)
        return self.x.view(count, -1, *self.x.shape[1:])[winner, torch.arange(len(winner), device=winner.device)]


def defined_score(score: Objective, maps: Tensor) -> Tensor:
    """The score of maps, float[B]; NaN where a map is constant or not finite, about which no score says anything."""
    flat = maps.detach().flatten(1)
    usable = flat.isfinite().all(dim=1) & (flat.amax(dim=1) > flat.amin(dim=1))
    return score(maps).detach().masked_fill(~usable, torch.nan)


def margins(logits: Tensor, classes: Tensor) -> Tensor:
    """How far the logit of a class is above all others, float[B]; negative where another class is predicted."""
    own = logits.gather(1, classes[:, None]).squeeze(1)
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return own - others.amax(dim=1)


def retreat(context: Context, inside: Tensor, outside: Tensor, predicted: Tensor, halvings: int = HALVINGS) -> Tensor:
    """Points between two others that keep the prediction, as far from the first as bisection finds, B×C×H×W.

    Args:
        context: whose network predicts.
        inside: points where the prediction is kept.
        outside: points where it is not, of the same ball.
        predicted: the class to keep, int64[B].
        halvings: of the distance; a forward pass each.
    """
    low = torch.zeros(len(inside), 1, 1, 1, dtype=inside.dtype, device=inside.device)
    high = torch.ones_like(low)
    for _ in range(halvings):
        middle = (low + high) / 2
        kept = (context.predict(torch.lerp(inside, outside, middle)) == predicted).view(-1, 1, 1, 1)
        low, high = torch.where(kept, middle, low), torch.where(kept, high, middle)
    return torch.lerp(inside, outside, low)


def along_boundary(gradient: Tensor, margin_gradient: Tensor) -> Tensor:
    """The part of a gradient whose descent does not lower the margin, B×C×H×W; all of it where none of it does.

    Args:
        gradient: of the objective.
        margin_gradient: of the margin; zero for images that need no care.
    """
    flat, toward = gradient.flatten(1), margin_gradient.flatten(1)
    lowering = (flat * toward).sum(dim=1).clamp_min(0.0)
    share = lowering / toward.square().sum(dim=1).clamp_min(torch.finfo(toward.dtype).tiny)
    return (flat - share[:, None] * toward).view_as(gradient)
