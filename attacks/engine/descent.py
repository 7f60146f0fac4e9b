"""Gradient descent on an explanation: the settings and the gradient evaluation of attacks that differentiate a map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from tqdm import trange

from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.differentiated import SmoothedModel, activation_displacements, smoothed_model
from attrobust.attacks.engine.feasible import Objective, along_boundary
from attrobust.naming.checks import above_zero, at_least
from attrobust.networks.reused import calls_apart
from attrobust.networks.second_order import SecondOrder
from attrobust.networks.spelled import function_kinks

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps B×H×W and logits B×K of the differentiated network to one number per image, float[B]."""

Update = Callable[[Tensor, Tensor, int], Tensor]
"""Point, gradient and iteration, to the next point."""

Guard = Callable[[Tensor], Tensor | None]
"""Logits B×K to the margins that a descent must not lower, float[B], or None where none is near the boundary."""


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """An attack that descends the gradient of an objective through the explainer.

    The second derivative of a ReLU network is zero, and max-pooling hides part of it. So a smoothed model is
    differentiated instead, which has softplus and log-sum-exp pooling in their place and shares all weights. Maps that
    vary within a linear region (``Explainer.varies_within_region``) are differentiated in the network itself. An
    explainer without a derivative is attacked by transfer: the surrogate's maps are differentiated. Scores, prediction
    and the choice of the best iterate are always those of the unmodified network and the scored explainer.

    Attributes:
        steps: iterations.
        differentiate: ``auto`` differentiates the smoothed model as described; ``own`` always the network itself.
        inverse_temperature: one over the temperature of softplus and pooling at the first iteration, in units of one
            over the activation displacement of each layer, see ``activation_displacements``.
        growth: factor by which the temperature falls from the first to the last iteration, geometrically.
        beta: one over the temperature of every softplus, in place of ``inverse_temperature``, where it is not ``none``;
            a network without ReLUs keeps its activations.
        pool: the same of every log-sum-exp pooling, where it is not ``none``; 0 keeps max-pooling.
        draws: of a stochastic explainer, averaged over for each gradient; new ones at every iteration.
    """

    steps: int = 50
    differentiate: Literal["auto", "own"] = "auto"
    inverse_temperature: float = 0.3
    growth: float = 10.0
    beta: float | None = None
    pool: float | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "steps", "draws")
        above_zero(self, "inverse_temperature", "growth", "beta")
        # Published attacks have defaults for these, which differentiate=own ignores without complaint.
        typed = [
            name for name in ("beta", "pool") if getattr(type(self), name) is None and getattr(self, name) is not None
        ]
        if self.differentiate == "own" and typed:
            raise ValueError(f"{typed[0]} has no effect with differentiate=own, which replaces nothing")
        if self.pool is not None and not self.pool >= 0:
            raise ValueError(f"pool must be 0 (max-pooling) or above, not {self.pool:g}")

    @property
    def follows_gradient(self) -> bool:
        """True unless the gradients are those of a source model."""
        return not self.source_model

    @abstractmethod
    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """The function of maps to be minimised, given the clean images and the explained classes."""

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:  # noqa: ARG002
        """A differentiable surrogate of an objective without useful derivative; None to differentiate the objective."""
        return None

    def source(self, context: Context) -> Context:
        """The context whose maps are differentiated: network and explainer are the scored ones or stand in for them."""
        return context.followed

    def differentiated(self, context: Context, x: Tensor) -> SmoothedModel:
        """The network that the attack differentiates, at the temperature of the first iteration.

        Args:
            context: network, explainer and threat model.
            x: images, B×C×H×W; only their size matters.
        """
        source = self.source(context)
        if self.differentiate == "own" or source.explainer.varies_within_region:
            return SmoothedModel(source.model, {})
        absolute = self.beta is not None and self.pool is not None
        model = calls_apart(source.model, x)
        displacements = {} if absolute else activation_displacements(model, context.threat, x.shape[1:], x)
        return smoothed_model(
            model,
            displacements,
            beta=self.beta,
            pool=self.pool,
            inverse_temperature=self.inverse_temperature,
            functions=len(function_kinks(model, x)),
        )

    def cooling(self, iteration: int) -> float:
        """The temperature of the first iteration divided by that of ``iteration``."""
        factor: float = self.growth ** (iteration / max(1, self.steps - 1))
        return factor

    def iterates(
        self, context: Context, start: Tensor, y: Tensor, loss: Loss, update: Update
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Every point of a plain descent, the start and the last included, whatever is predicted there.

        Args:
            context: network, explainer and threat model.
            start: first point, B×C×H×W.
            y: explained classes.
            loss: function that is differentiated, of the maps and logits of the differentiated explainer and network.
            update: the next point from a point, its gradient and the number of the iteration.

        Yields:
            A point, and its scored maps and logits where they are a by-product.
        """
        slope, current = Slope(self, context, start, y, loss), start
        for iteration in trange(self.steps, desc="steps", leave=False, disable=None):
            evaluation = slope(current, iteration)
            yield current, evaluation.maps, evaluation.logits
            current = update(current, evaluation.gradient, iteration)
        yield current, None, None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of evaluating a ``Slope``.

    Attributes:
        gradient: of the objective, B×C×H×W, projected along the decision boundary for guarded images.
        maps, logits: those of the scored network and explainer where these are differentiated themselves; else None.
    """

    gradient: Tensor
    maps: Tensor | None
    logits: Tensor | None


class Slope:
    """The gradient of a loss through the differentiated explainer and network, as a function of images.

    Args:
        attack: whose settings are used.
        context: network, explainer and threat model.
        x: images, B×C×H×W; only their size matters.
        y: explained classes, int64[B].
        loss: of maps and logits, float[B].
        smoothed: the network that is differentiated; None for that of the attack.
    """

    def __init__(
        self,
        attack: GradientAttack,
        context: Context,
        x: Tensor,
        y: Tensor,
        loss: Loss,
        smoothed: SmoothedModel | None = None,
    ) -> None:
        self._attack, self._y, self._loss = attack, y, loss
        self._followed = attack.source(context)
        self._smoothed = attack.differentiated(context, x) if smoothed is None else smoothed
        self._draws = attack.draws if self._followed.explainer.stochastic else 0
        self.scores = self._smoothed.network is context.model and self._followed is context and not self._draws
        """Whether an evaluation also gives the maps and logits that are scored."""

    def __call__(self, x: Tensor, iteration: int, guard: Guard | None = None) -> Evaluation:
        """The gradient at some images.

        Args:
            x: B×C×H×W.
            iteration: decides the temperature of the smoothed model and the draws of a stochastic explainer.
            guard: gives, of the logits, the margins that descent must not lower, float[B], or None if there are none.
        """
        self._smoothed.cool(self._attack.cooling(iteration))
        attached = x.detach().requires_grad_()
        # Draw 0 is the one that iterates are scored with.
        draws = range(1 + iteration * self._draws, 1 + (iteration + 1) * self._draws) if self._draws else [0]
        gradient, toward, maps, logits = torch.zeros_like(x), None, x, x
        for number in draws:
            with SecondOrder():
                maps, logits = self._followed.maps_and_logits(
                    attached, self._y, model=self._smoothed.network, create_graph=True, draw=number
                )
            value = self._loss(maps, logits).sum()
            guarded = guard(logits) if guard is not None and toward is None else None
            (part,) = torch.autograd.grad(value, attached, retain_graph=guarded is not None)
            gradient += part
            if guarded is not None:
                (toward,) = torch.autograd.grad(guarded.sum(), attached)
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        if toward is not None:
            gradient = along_boundary(gradient, toward.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
        if not self.scores:
            return Evaluation(gradient=gradient, maps=None, logits=None)
        return Evaluation(gradient=gradient, maps=maps.detach(), logits=logits.detach())


def sum_normalized(maps: Tensor) -> Tensor:
    """``S / Σ|S|``, B×H×W; a change of the map's scale does not change it."""
    return maps / maps.abs().sum(dim=(1, 2), keepdim=True).clamp_min(1e-30)
