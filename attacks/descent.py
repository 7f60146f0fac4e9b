"""Gradient descent on an explanation: one loop for every attack that differentiates a map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import trange

from attacks.base import Attack, Context
from attrobust.views import is_smooth, softplus_view

Objective = Callable[[Tensor], Tensor]
"""Maps B×H×W to one number per image, float[B]: smaller is a stronger attack."""

Loss = Callable[[Tensor, Callable[[], Tensor]], Tensor]
"""Maps, and a function that runs the network for its logits, to one number per image."""

Update = Callable[[Tensor, Tensor, int], Tensor]
"""Point, gradient and iteration, to the next point."""


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """An attack that descends the gradient of an objective through the explainer.

    A network of ReLUs has no second derivative to follow, so a softplus view of it is differentiated instead. An
    explainer without a derivative is attacked by transfer: the objective is followed on the maps of the context's
    surrogate. Scores, prediction and the choice of the best iterate are always those of the unmodified network and the
    scored explainer.

    Attributes:
        steps: iterations.
        view: ``auto`` differentiates the network itself where it is smooth and its softplus view otherwise; ``own``
            always the network itself.
        beta: sharpness of the softplus view.
    """

    steps: int = 50
    view: Literal["auto", "own"] = "auto"
    beta: float = 10.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, not {self.beta:g}")

    @abstractmethod
    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """What is to be made small, given the clean images and the explained classes."""

    def differentiated(self, model: nn.Module) -> nn.Module:
        """The network whose graph the attack follows."""
        if self.view == "own" or is_smooth(model):
            return model
        return softplus_view(model, self.beta)

    def iterates(
        self, context: Context, start: Tensor, y: Tensor, loss: Loss, update: Update
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every point of a descent, the start and the last included.

        Args:
            context: network, explainer and rules.
            start: first point, B×C×H×W.
            y: explained classes.
            loss: what is differentiated, of the maps of the followed explainer and the logits of the differentiated
                network.
            update: the next point from a point, its gradient and the number of the iteration.

        Yields:
            A point, and its scored maps where they are a by-product.
        """
        network, followed = self.differentiated(context.model), context.followed
        scored = network is context.model and followed is context
        current = start
        for iteration in trange(self.steps, desc="steps", leave=False, disable=None):
            attached = current.detach().requires_grad_()
            maps = followed.maps(attached, y, model=network, create_graph=True)
            yield current, maps.detach() if scored else None
            (gradient,) = torch.autograd.grad(loss(maps, partial(network, attached)).sum(), attached)
            current = update(current, gradient, iteration)
        yield current, None


@dataclass(frozen=True, kw_only=True)
class SignedDescent(GradientAttack):
    """Steepest descent with a step that shrinks linearly, keeping each image's best legal iterate.

    Attributes:
        step: first step as a share of eps; the last is ``step / steps`` of eps.
    """

    step: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.step > 0:
            raise ValueError(f"step must be above 0, not {self.step:g}")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``; starts at a random point of the ball."""
        threat = context.threat
        score = self.objective(context, x, y)
        guide = score if context.surrogate is None else self.objective(context.followed, x, y)
        best = BestLegal(context, x, y, score)

        def update(current: Tensor, gradient: Tensor, iteration: int) -> Tensor:
            size = self.step * threat.eps * (1 - iteration / self.steps)
            return threat.project(x, current - size * threat.direction(gradient))

        start = threat.scatter(x, context.streams("start").uniform(x))
        for iterate, maps in self.iterates(context, start, y, lambda maps, _: guide(maps), update):
            best.offer(iterate, maps)
        return best.x


class BestLegal:
    """The iterate of lowest score, image by image, among those whose prediction on the scored network is kept.

    Starts with the clean images, so an attack never returns anything worse than doing nothing.

    Args:
        context: rules and network.
        x: clean images.
        y: explained classes.
        score: of the maps of the scored network.
    """

    def __init__(self, context: Context, x: Tensor, y: Tensor, score: Objective) -> None:
        self._context, self._y, self._score = context, y, score
        self._predicted = context.predict(x)
        self.x = x.clone()
        self.score = score(context.maps(x, y)).detach()

    def offer(self, x: Tensor, maps: Tensor | None = None) -> None:
        """Keep ``x`` where it is legal and better; ``maps`` are its maps on the scored network where known."""
        context = self._context
        score = self._score(context.maps(x, self._y) if maps is None else maps).detach()
        better = score < self.score
        if context.threat.keep_prediction:
            better &= context.predict(x) == self._predicted
        self.x = torch.where(better.view(-1, 1, 1, 1), x.detach(), self.x)
        self.score = torch.where(better, score, self.score)


def sum_normalized(maps: Tensor) -> Tensor:
    """``S / Σ|S|``, B×H×W, so that shrinking all gradients is no way to change a map."""
    return maps / maps.abs().sum(dim=(1, 2), keepdim=True).clamp_min(1e-30)
