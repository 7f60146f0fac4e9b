"""Descent with momentum and an adaptive step per image: the step control of APGD (Croce and Hein, ICML 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import trange

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import BestFeasible
from attrobust.attacks.engine.walk import Point, Walk, Walking
from attrobust.naming.checks import above_zero
from attrobust.threat import ThreatModel

MOMENTUM = 0.75
IMPROVING = 0.75
"""Share of steps that must lower the score for a step size to be kept."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveDescent(Walking):
    """Descent with momentum whose step is halved where it makes no progress (arXiv 2003.01690).

    At checkpoints, which follow each other ever more closely, an image's step is halved and its walk goes on from its
    best point, if fewer than three quarters of the steps since the last checkpoint lowered its score, or if neither
    step nor best score changed since. Images whose score is at its floor, and images without a gradient, leave the
    batch.

    Two things differ from the paper's algorithm 1 and its official code: the first step is taken at 0.75 of its length
    too, and the jump back to the best point does not count as a move that momentum goes on with.

    Attributes:
        first_step: the step at the start, in eps.
    """

    first_step: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "first_step")

    @property
    def floor(self) -> float:
        """Lower bound of the objective; an image that reaches it is finished."""
        return -math.inf

    def descend(self, context: Context, x: Tensor, y: Tensor, start: Tensor) -> BestFeasible:
        """See ``Walking.descend``."""
        walk = Walk(self, context, x, y)
        whole, rows, checkpoints = walk.best, torch.arange(len(x), device=x.device), schedule(self.steps)
        control = Control.begin(walk.visit(x, start, 0), self.first_step * context.threat.eps)
        for iteration in trange(self.steps, desc="steps", leave=False, disable=None):
            if iteration in checkpoints:
                control.check()
                walking = ~control.finished(walk.best.score <= self.floor)
                if not bool(walking.any()):
                    break
                if not bool(walking.all()):
                    rows, control = rows[walking], control.take(walking)
                    walk = walk.take(walking.nonzero().flatten().tolist())
            proposal = control.propose(context.threat, x[rows])
            control.move(walk.visit(control.point.x, proposal, iteration + 1 if iteration + 1 < self.steps else None))
            if walk.best is not whole:
                whole.x[rows], whole.score[rows] = walk.best.x, walk.best.score
        return whole


@dataclass
class Control:
    """The state of a descent whose images each have their own step.

    Attributes:
        point: the current one.
        best: the point of lowest score so far.
        previous: the point before, B×C×H×W.
        step: float[B], in pixel units.
        improved, steps: how many steps lowered the score since the last checkpoint, int64[B], and of how many.
        last_score: the best at the last checkpoint, float[B].
        halved: bool[B], whether the step was halved at the last checkpoint.
        moving: bool[B], whether any gradient since the last checkpoint was not zero.
    """

    point: Point
    best: Point
    previous: Tensor
    step: Tensor
    improved: Tensor
    steps: int
    last_score: Tensor
    halved: Tensor
    moving: Tensor

    @classmethod
    def begin(cls, point: Point, step: float) -> Control:
        """The state at the start, with a step in pixel units."""
        none = torch.zeros_like(point.score, dtype=torch.bool)
        return cls(
            point=point,
            best=point,
            previous=point.x,
            step=torch.full_like(point.score, step),
            improved=none.long(),
            steps=0,
            last_score=point.score,
            halved=none,
            moving=_has_gradient(point),
        )

    def propose(self, threat: ThreatModel, x: Tensor) -> Tensor:
        """The next point: a step of steepest descent, and a part of the last move, projected; B×C×H×W."""
        here, step = self.point.x, self.step.view(-1, 1, 1, 1)
        target = threat.project(x, here - step * threat.direction(self.point.gradient))
        return threat.project(x, here + MOMENTUM * (target - here) + (1 - MOMENTUM) * (here - self.previous))

    def move(self, point: Point) -> None:
        """Record a point that was evaluated as the current one."""
        self.improved = self.improved + (point.score < self.point.score)
        self.steps += 1
        self.moving = self.moving | _has_gradient(point)
        self.previous, self.point = self.point.x, point
        self.best = _choose(point.score < self.best.score, point, self.best)

    def check(self) -> None:
        """Halve the step of images that made too little progress, and return these to their best point."""
        stuck = ~self.halved & ~(self.best.score < self.last_score)
        halve = (self.improved < IMPROVING * self.steps) | stuck
        self.step = torch.where(halve, self.step / 2, self.step)
        self.previous = torch.where(halve.view(-1, 1, 1, 1), self.best.x, self.previous)
        self.point = _choose(halve, self.best, self.point)
        self.halved, self.last_score = halve, self.best.score
        self.improved, self.steps = torch.zeros_like(self.improved), 0

    def finished(self, achieved: Tensor) -> Tensor:
        """Images to leave the batch, bool[B]: ``achieved``, or no gradient since the last call. Resets ``moving``."""
        done = achieved | ~self.moving
        self.moving = _has_gradient(self.point)
        return done

    def take(self, rows: Tensor) -> Control:
        """The state of some of the images, bool[B]."""
        return Control(
            point=self.point[rows],
            best=self.best[rows],
            previous=self.previous[rows],
            step=self.step[rows],
            improved=self.improved[rows],
            steps=self.steps,
            last_score=self.last_score[rows],
            halved=self.halved[rows],
            moving=self.moving[rows],
        )


def schedule(steps: int) -> set[int]:
    """The iterations at which steps are checked: after 22 %, then after ever shorter stretches down to 6 %."""
    last, here, iterations = 0.0, 0.22, set[int]()
    while here < 1:
        # Rounded first, so that an error in the last digit of the sum does not raise a whole number to the next.
        iterations.add(math.ceil(round(here * steps, 6)))
        last, here = here, here + max(here - last - 0.03, 0.06)
    return iterations


def _choose(first: Tensor, a: Point, b: Point) -> Point:
    """``a`` where ``first``, else ``b``."""
    wide = first.view(-1, 1, 1, 1)
    return Point(
        x=torch.where(wide, a.x, b.x),
        gradient=torch.where(wide, a.gradient, b.gradient),
        score=torch.where(first, a.score, b.score),
    )


def _has_gradient(point: Point) -> Tensor:
    return point.gradient.flatten(1).abs().amax(dim=1) > 0
