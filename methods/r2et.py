"""Penalty on gaps between the ranks of the gradient map: R2ET (Chen et al., NeurIPS 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.gradients import differentiable
from attrobust.naming.checks import at_least, not_negative
from attrobust.networks.smoothed import input_scale, spell_out
from attrobust.types import Amount, Card, Cost


@register("r2et")
@dataclass(frozen=True, kw_only=True)
class R2ET(Activated):
    """Penalties that widen the gaps around rank k of the gradient map and lower curvature; starts from trained weights.

    The map is ``s = Σ_channels |∇CE|`` in normalised input units. Pairs compare every pixel above rank k with that at
    rank k, and this one with every pixel below it: ``tx`` is the sum of ``s_low − s_high`` over pairs, ``etx`` that of
    its exponential. The Hessian term is ``||H sign(∇CE)|| / D`` for D inputs. With ``adapt`` a term R enters as
    ``|lam (CE + 1) / R| R``, its factor held constant, as in the official code.

    ``variant=paper`` takes batch sums of the gradient of the batch's mean cross-entropy, so that the terms depend on
    the batch size. It estimates the Hessian term by a difference over ``1e-3 / 3072``, whatever D, and takes its norm
    over the whole batch. In float32, images in [0, 1] hardly resolve such a step: on 64 real digits the estimate is
    0.45 (digits/natural) and 0.61 (digits/softplus) times its value in float64. By default the Hessian-vector product
    is exact, and terms are means over images.

    Attributes:
        penalty: ``tx``, ``etx`` or ``none``.
        k: pixels whose ranks are to be kept above the others.
        pairs: how many ranks above and below k are compared with it; ``none`` means k.
        lam: weight of the ranking term.
        lam_hessian: weight of the Hessian term.
        adapt: whether weights follow the cross-entropy and the size of their term.
        start: method whose trained weights training starts from, or ``scratch``.
        variant: ``corrected``, or ``paper`` for the official behaviour.
        softplus: see ``Activated``; the official code has 0.5 or none.
    """

    penalty: Literal["tx", "etx", "none"] = "tx"
    k: Amount = Amount(100, False)
    pairs: int | None = None
    lam: float = 0.1
    lam_hessian: float = 0.1
    adapt: bool = True
    start: str = "natural"
    variant: Literal["corrected", "paper"] = "corrected"

    card: ClassVar[Card] = Card(
        title="Training for Stable Explanation for Free",
        authors="Chen et al.",
        year=2024,
        equation="L = CE(f(x), y) + lam sum over pairs (s_low - s_high) + lam_hessian ||H sign(grad CE)|| / D",
        note="NeurIPS 2024, not on arXiv under this title. The code has k = 100, the paper 50 for images; lam from "
        "1e-3 to 1e2 on validation images; Adam at 1e-5 for 10 epochs from a trained network.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam", "lam_hessian")
        at_least(1, self, "pairs")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Method.without_effect``: only the ranking term has ``k`` and ``pairs``."""
        return frozenset() if self.lam and self.penalty != "none" else frozenset({"k", "pairs"})

    def check_images(self, *, channels: int, size: int, classes: int, gaze: bool) -> None:
        """See ``Method.check_images``: there must be pixels to compare on either side of rank k."""
        k = self.k.of(size * size)
        below = k if self.pairs is None else self.pairs
        if k < 2 or k + below > size * size:
            raise ValueError(f"k={self.k} leaves no {below} pixels on either side of it in maps of {size}×{size}")

    def prepare(self, model: nn.Module) -> nn.Module:
        """See ``Activated.prepare``; also batch normalisation with third derivatives, for the Hessian term."""
        return spell_out(super().prepare(model))

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        if not self.lam_hessian:
            return Cost(forward=1, backward=2, double_backward=1)
        if self.variant == "paper":
            return Cost(forward=2, backward=4, double_backward=2)
        return Cost(forward=1, backward=3, double_backward=3 if self.lam and self.penalty != "none" else 2)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus both terms; a scalar."""
        x = differentiable(x)
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        gradient = self._gradient(model, logits, x, y)
        total = loss
        if self.lam and self.penalty != "none":
            total = total + self._weighted(self.lam, self.ranking(gradient), loss)
        if self.lam_hessian:
            total = total + self._weighted(self.lam_hessian, self.curvature(model, gradient, x, y), loss)
        return total

    def ranking(self, gradient: Tensor) -> Tensor:
        """The ranking term of gradients in normalised units, B×C×H×W; a scalar."""
        maps = gradient.abs().sum(dim=1).flatten(1)
        # The order is a constant: only the values at the present ranks are differentiated.
        ranked = maps.gather(1, maps.detach().argsort(dim=1, descending=True))
        k = self.k.of(maps.shape[1])
        pairs = k if self.pairs is None else self.pairs
        above, last, below = ranked[:, max(0, k - pairs - 1) : k - 1], ranked[:, k - 1 : k], ranked[:, k : k + pairs]
        gaps = torch.cat([last - above, below - last], dim=1)
        sums = (gaps.exp() if self.penalty == "etx" else gaps).sum(dim=1)
        return sums.sum() if self.variant == "paper" else sums.mean()

    def curvature(self, model: nn.Module, gradient: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The Hessian term; a scalar.

        Args:
            model: the network.
            gradient: of the loss in normalised units, with a graph to ``x``.
            x: images that require grad.
            y: classes, int64[B].
        """
        sign = gradient.detach().sign()
        if self.variant == "paper":
            h = 1e-3
            moved = differentiable(x + h / 3072 * sign * input_scale(model))
            whole: Tensor = ((self._gradient(model, model(moved), moved, y) - gradient) / h).norm()
            return whole
        (product,) = torch.autograd.grad((gradient * sign).sum(), x, create_graph=True)
        change = (product * input_scale(model)).flatten(1)
        mean: Tensor = change.norm(dim=1).mean()
        return mean / change.shape[1]

    def _gradient(self, model: nn.Module, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        reduction = "mean" if self.variant == "paper" else "sum"
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction=reduction), x, create_graph=True)
        return gradient * input_scale(model)

    def _weighted(self, weight: float, term: Tensor, loss: Tensor) -> Tensor:
        if not self.adapt:
            return weight * term
        # The floor keeps the factor finite where the term is zero.
        return (weight * (loss.detach() + 1) / term.detach().abs().clamp_min(1e-30)) * term
