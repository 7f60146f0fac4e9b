"""Gradient descent on an explanation: what every attack has in common that differentiates a map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from tqdm import trange

from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.differentiated import View, reach_of, smooth_view
from attrobust.attacks.engine.feasible import Objective, along_boundary
from attrobust.naming.checks import above_zero, at_least

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps B×H×W and logits B×K of the differentiated network to one number per image, float[B]."""

Update = Callable[[Tensor, Tensor, int], Tensor]
"""Point, gradient and iteration, to the next point."""

Guard = Callable[[Tensor], Tensor | None]
"""Logits B×K to what a descent must not lower, float[B], or None."""


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """An attack that descends the gradient of an objective through the explainer.

    A network of ReLUs has no second derivative to follow, and max-pooling hides part of one, so a view of the network
    with softplus and log-sum-exp pooling in their place is differentiated instead; it shares all weights. Maps that
    bend by themselves (``Explainer.curved``) are differentiated in the network itself. An explainer without a
    derivative is attacked by transfer: the objective is followed on the maps of the context's surrogate. Scores,
    prediction and the choice of the best iterate are always those of the unmodified network and the scored explainer.

    Attributes:
        steps: iterations.
        view: ``auto`` as described; ``own`` always the network itself.
        sharpness: of softplus and pooling at the first iteration, in units of one over what the ball moves the inputs
            of each layer by, see ``attacks.views.reach_of``.
        growth: how many times sharper the last iteration is, geometrically.
        beta: sharpness of every softplus instead, where it is not ``none``; a network without ReLUs keeps its
            activations.
        pool: sharpness of every log-sum-exp pooling instead, where it is not ``none``; 0 keeps max-pooling.
        draws: of a stochastic explainer, averaged over for each gradient; fresh ones at every iteration.
    """

    steps: int = 50
    view: Literal["auto", "own"] = "auto"
    sharpness: float = 0.3
    growth: float = 10.0
    beta: float | None = None
    pool: float | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "steps", "draws")
        above_zero(self, "sharpness", "growth", "beta")
        # Attacks of papers have a default of their own, which view=own may well pass over.
        typed = [
            name for name in ("beta", "pool") if getattr(type(self), name) is None and getattr(self, name) is not None
        ]
        if self.view == "own" and typed:
            raise ValueError(f"{typed[0]} has no effect with view=own, which replaces nothing")
        if self.pool is not None and not self.pool >= 0:
            raise ValueError(f"pool must be 0 (max-pooling) or above, not {self.pool:g}")

    @property
    def follows_gradient(self) -> bool:
        """Unless it follows another network's."""
        return not self.donor

    @abstractmethod
    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """What is to be made small, given the clean images and the explained classes."""

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:  # noqa: ARG002
        """What is followed where the objective has no useful derivative, given the same; None to follow that."""
        return None

    def source(self, context: Context) -> Context:
        """The situation whose maps are followed: that of the scored network, and of its surrogate if there is one."""
        return context.followed

    def differentiated(self, context: Context, x: Tensor) -> View:
        """The network whose graph the attack follows, as sharp as at the first iteration.

        Args:
            context: network, explainer and rules.
            x: images, B×C×H×W; only their size matters.
        """
        source = self.source(context)
        if self.view == "own" or source.explainer.curved:
            return View(source.model, {})
        absolute = self.beta is not None and self.pool is not None
        reach = {} if absolute else reach_of(source.model, context.threat, x.shape[1:], x)
        return smooth_view(source.model, reach, beta=self.beta, pool=self.pool, sharpness=self.sharpness)

    def sharpening(self, iteration: int) -> float:
        """How many times as sharp as at the first iteration the view is."""
        factor: float = self.growth ** (iteration / max(1, self.steps - 1))
        return factor

    def iterates(
        self, context: Context, start: Tensor, y: Tensor, loss: Loss, update: Update
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Every point of a plain descent, the start and the last included, whatever is predicted there.

        Args:
            context: network, explainer and rules.
            start: first point, B×C×H×W.
            y: explained classes.
            loss: what is differentiated, of the maps of the followed explainer.
            update: the next point from a point, its gradient and the number of the iteration.

        Yields:
            A point, and its scored maps and logits where they are a by-product.
        """
        slope, current = Slope(self, context, start, y, loss), start
        for iteration in trange(self.steps, desc="steps", leave=False, disable=None):
            found = slope(current, iteration)
            yield current, found.maps, found.logits
            current = update(current, found.gradient, iteration)
        yield current, None, None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one evaluation of a slope gives.

    Attributes:
        gradient: of the objective, B×C×H×W, turned along the decision boundary where an image was to be guarded.
        maps, logits: on the scored network, where the differentiated one is that and the draws are those of scores.
    """

    gradient: Tensor
    maps: Tensor | None
    logits: Tensor | None


class Slope:
    """The gradient of a loss through the followed explainer and the differentiated network.

    Args:
        attack: whose view and draws it has.
        context: network, explainer and rules.
        x: images, B×C×H×W; only their size matters.
        y: explained classes, int64[B].
        loss: of maps and logits, float[B].
    """

    def __init__(self, attack: GradientAttack, context: Context, x: Tensor, y: Tensor, loss: Loss) -> None:
        self._attack, self._y, self._loss = attack, y, loss
        self._followed = attack.source(context)
        self._view = attack.differentiated(context, x)
        self._draws = attack.draws if self._followed.explainer.stochastic else 0
        self.scores = self._view.network is context.model and self._followed is context and not self._draws
        """Whether an evaluation gives scored maps."""

    def __call__(self, x: Tensor, iteration: int, guard: Guard | None = None) -> Found:
        """Evaluate it.

        Args:
            x: B×C×H×W.
            iteration: decides the sharpness of the view and the draws of a stochastic explainer.
            guard: of the logits, what descent must not lower, float[B], or None where nothing is in danger.
        """
        self._view.sharpen(self._attack.sharpening(iteration))
        attached = x.detach().requires_grad_()
        # Draw 0 is the one that iterates are scored with.
        draws = range(1 + iteration * self._draws, 1 + (iteration + 1) * self._draws) if self._draws else [0]
        gradient, toward, maps, logits = torch.zeros_like(x), None, x, x
        for number in draws:
            maps, logits = self._followed.maps_and_logits(
                attached, self._y, model=self._view.network, create_graph=True, draw=number
            )
            value = self._loss(maps, logits).sum()
            kept = guard(logits) if guard is not None and toward is None else None
            (part,) = torch.autograd.grad(value, attached, retain_graph=kept is not None)
            gradient += part
            if kept is not None:
                (toward,) = torch.autograd.grad(kept.sum(), attached)
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        if toward is not None:
            gradient = along_boundary(gradient, toward.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
        if not self.scores:
            return Found(gradient=gradient, maps=None, logits=None)
        return Found(gradient=gradient, maps=maps.detach(), logits=logits.detach())


def sum_normalized(maps: Tensor) -> Tensor:
    """``S / Σ|S|``, B×H×W, so that shrinking all gradients is no way to change a map."""
    return maps / maps.abs().sum(dim=(1, 2), keepdim=True).clamp_min(1e-30)
