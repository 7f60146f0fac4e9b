"""Descents from random starts that stay inside the decision region."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.descent import GradientAttack, Slope
from attrobust.attacks.engine.differentiated import SmoothedModel
from attrobust.attacks.engine.feasible import BestFeasible, margins, retreat
from attrobust.naming.checks import at_least

GUARD = 0.2
"""Share of its clean margin below which an image's descent is turned along the decision boundary."""


@dataclass
class Point:
    """A point of a descent, evaluated.

    Attributes:
        x: B×C×H×W, feasible.
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

    The prediction is a hard constraint: a step that leaves the decision region is shortened by bisection until it stays
    inside, and close to the boundary the component of the gradient that would lower the margin is removed.

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
        known = context.remembering(x, y).take(list(range(len(x))) * self.restarts)
        return self.descend(known, *known.images, torch.cat(starts)).over_restarts(self.restarts)

    @abstractmethod
    def descend(self, context: Context, x: Tensor, y: Tensor, start: Tensor) -> BestFeasible:
        """Descend from ``start`` and return the best iterates.

        Args:
            context: network, explainer and threat model.
            x: clean images.
            y: explained classes.
            start: points of the ball, B×C×H×W, whatever is predicted there.
        """


class Walk:
    """The evaluations of one descent: objective, gradient, feasibility and the best iterate.

    Args:
        attack: whose objective and settings are used.
        context: network, explainer and threat model.
        x: clean images, B×C×H×W.
        y: explained classes, int64[B].
        smoothed: the network that is differentiated; None for that of the attack.
    """

    def __init__(
        self, attack: GradientAttack, context: Context, x: Tensor, y: Tensor, smoothed: SmoothedModel | None = None
    ) -> None:
        context = context.remembering(x, y)
        self._attack, self._context, self._y = attack, context, y
        score, source = attack.objective(context, x, y), attack.source(context)
        self._guide = attack.guide(context, x, y)
        differentiated = self._guide or score
        if source is not context:
            differentiated = attack.guide(source, x, y) or attack.objective(source, x, y)
        self._smoothed = attack.differentiated(context, x) if smoothed is None else smoothed
        self._slope = Slope(attack, context, x, y, lambda maps, _: differentiated(maps), self._smoothed)
        self.best = BestFeasible(context, x, y, score)

    def take(self, rows: list[int]) -> Walk:
        """The walk of some of the images, with their best iterates; the same network is differentiated."""
        context = self._context.take(rows)
        part = Walk(self._attack, context, *context.images, self._smoothed)
        part.best.x, part.best.score = self.best.x[rows], self.best.score[rows]
        return part

    def visit(self, inside: Tensor, proposal: Tensor, iteration: int | None) -> Point:
        """Evaluate the proposed points, or points on the way to them where they change the prediction.

        Args:
            inside: feasible points that the proposal is reached from.
            proposal: points of the ball.
            iteration: for the gradient; None where no gradient is needed, which is then zero.
        """
        evaluation = None
        if iteration is not None and self._slope.scores:
            evaluation = self._slope(proposal, iteration, self._guard)
        if evaluation is not None and evaluation.maps is not None and evaluation.logits is not None:
            maps, logits = evaluation.maps, evaluation.logits
        else:
            maps, logits = self._context.maps_and_logits(proposal, self._y)
        x, maps, logits = self._inside_region(inside, proposal, maps, logits)
        score = self.best.offer(x, maps, logits)
        if self._guide is not None:
            score = self._guide(maps).detach().nan_to_num(nan=torch.inf).masked_fill(score.isinf(), torch.inf)
        if evaluation is None and iteration is not None:
            # Guarded by the margins of the scored network, which those of a smoothed model only approximate.
            evaluation = self._slope(x, iteration, lambda smoothed: self._guard(smoothed, logits))
        return Point(x=x, gradient=torch.zeros_like(x) if evaluation is None else evaluation.gradient, score=score)

    def _guard(self, logits: Tensor, scored: Tensor | None = None) -> Tensor | None:
        """Margins that must not be lowered, float[B], zero for images far from the boundary; None if all are.

        Args:
            logits: of the differentiated network.
            scored: of the scored network, which decide how far the boundary is; None where these are the same.
        """
        if not self._context.threat.keep_prediction:
            return None
        predicted = self.best.predicted
        scored_margins = margins(logits.detach() if scored is None else scored, predicted)
        near = scored_margins < GUARD * self.best.margin
        return margins(logits, predicted) * near if bool(near.any()) else None

    def _inside_region(
        self, inside: Tensor, proposal: Tensor, maps: Tensor, logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The proposal, moved back along its step where it changes the prediction, with its maps and logits."""
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
