"""A descent that never leaves the decision region: what the attacks with steps of their own have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.descent import GradientAttack, Slope
from attrobust.attacks.engine.feasible import BestLegal, margins, retreat
from attrobust.naming.checks import at_least

GUARD = 0.2
"""Share of its clean margin below which an image's descent is turned along the decision boundary."""


@dataclass
class Point:
    """Where a walk is.

    Attributes:
        x: B×C×H×W, legal.
        gradient: of the objective there.
        score: float[B], on the scored network.
    """

    x: Tensor
    gradient: Tensor
    score: Tensor

    def __getitem__(self, rows: Tensor) -> Point:
        """Some of the images, bool[B]."""
        return Point(x=self.x[rows], gradient=self.gradient[rows], score=self.score[rows])


@dataclass(frozen=True, kw_only=True)
class Walking(GradientAttack):
    """A descent from random starts, keeping each image's best iterate.

    The prediction is a hard constraint: a step out of the decision region is shortened by bisection until it stays
    inside, and close to the boundary the gradient loses what would lower the margin.

    Attributes:
        restarts: random starts, walked side by side; the best is kept.
    """

    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "restarts")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``; starts at random points of the ball."""
        starts = []
        for restart in range(self.restarts):
            streams = context.streams(f"start {restart}" if restart else "start")
            starts.append(context.threat.scatter(x, streams.uniform(x)))
        rows = list(range(len(x))) * self.restarts
        best = self.descend(context.take(rows), x[rows], y[rows], torch.cat(starts))
        return best.over_restarts(self.restarts)

    @abstractmethod
    def descend(self, context: Context, x: Tensor, y: Tensor, start: Tensor) -> BestLegal:
        """Walk from ``start`` and return what was best.

        Args:
            context: network, explainer and rules.
            x: clean images.
            y: explained classes.
            start: points of the ball, B×C×H×W, whatever is predicted there.
        """


class Walk:
    """The evaluations of one descent.

    Args:
        attack: whose objective and view it has.
        context: network, explainer and rules.
        x: clean images, B×C×H×W.
        y: explained classes, int64[B].
    """

    def __init__(self, attack: GradientAttack, context: Context, x: Tensor, y: Tensor) -> None:
        self._context, self._y = context, y
        score, source = attack.objective(context, x, y), attack.source(context)
        self._guide = attack.guide(context, x, y)
        followed = self._guide or score
        if source is not context:
            followed = attack.guide(source, x, y) or attack.objective(source, x, y)
        self._slope = Slope(attack, context, x, y, lambda maps, _: followed(maps))
        self.best = BestLegal(context, x, y, score)

    def visit(self, inside: Tensor, proposal: Tensor, iteration: int | None) -> Point:
        """The proposed points, or where their prediction changes others on the way to them.

        Args:
            inside: legal points that the proposal is reached from.
            proposal: points of the ball.
            iteration: for the gradient; None where none is wanted, which is then zero.
        """
        found = None
        if iteration is not None and self._slope.scores:
            found = self._slope(proposal, iteration, self._guard)
        if found is not None and found.maps is not None and found.logits is not None:
            maps, logits = found.maps, found.logits
        else:
            maps, logits = self._context.maps_and_logits(proposal, self._y)
        x, maps, logits = self._kept(inside, proposal, maps, logits)
        score = self.best.offer(x, maps, logits)
        if self._guide is not None:
            score = self._guide(maps).detach().nan_to_num(nan=torch.inf).masked_fill(score.isinf(), torch.inf)
        if found is None and iteration is not None:
            # By the margins of the scored network, which those of a view only resemble.
            found = self._slope(x, iteration, lambda of_view: self._guard(of_view, logits))
        return Point(x=x, gradient=torch.zeros_like(x) if found is None else found.gradient, score=score)

    def _guard(self, logits: Tensor, scored: Tensor | None = None) -> Tensor | None:
        """The margins, float[B], that must not be lowered: zero for images far from the boundary; None for none."""
        if not self._context.threat.keep_prediction:
            return None
        predicted = self.best.predicted
        known = margins(logits.detach() if scored is None else scored, predicted)
        near = known < GUARD * self.best.margin
        return margins(logits, predicted) * near if bool(near.any()) else None

    def _kept(self, inside: Tensor, proposal: Tensor, maps: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points whose prediction is kept, with their maps and logits."""
        lost = logits.argmax(dim=1) != self.best.predicted
        if not self._context.threat.keep_prediction or not bool(lost.any()):
            return proposal, maps, logits
        rows = lost.nonzero().flatten().tolist()
        part = self._context.take(rows)
        back = retreat(part, inside[rows], proposal[rows], self.best.predicted[rows])
        x, maps, logits = proposal.clone(), maps.clone(), logits.clone()
        x[rows] = back
        maps[rows], logits[rows] = part.maps_and_logits(back, self._y[rows])
        return x, maps, logits
