"""Relative input, output and representation stability of a map: Agarwal et al. 2022."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from attrobust.metrics import register
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.neighbours import Measure, NeighbourMetric
from attrobust.naming.checks import above_zero
from attrobust.networks.representation import representing


@dataclass(frozen=True, kw_only=True)
class RelativeStability(NeighbourMetric, kind=True):
    """Base class: ``max_δ ‖(Φ(x + δ) - Φ(x)) / Φ(x)‖₂ / max(d(x + δ, x), least)`` over random δ (arXiv 2203.06877).

    Φ are signed attributions of ``target``; both are divided value by value. d is the change of what the subclass
    names. As in the paper only neighbours with the image's prediction count. Values near zero, such as black pixels,
    would decide the quotient alone: those smaller than ``floor`` times the largest are divided by that instead. (The
    paper has no such rule. Quantus divides by 1e-6 where a value is exactly zero, so that black pixels alone make d,
    and the score is nearly 0; it adds ``least`` where d is 0.) NaN where attributions, pixels or representation of the
    image are zero everywhere or not finite, and where no neighbour has the image's prediction. A map that never moves
    scores 0 and says nothing by it.

    Attributes:
        floor: smallest divisor, as a share of the largest value of the image.
        least: smallest d.
    """

    flips: Literal["keep", "drop"] = "drop"
    floor: float = 0.01
    least: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "floor", "least")
        if self.floor > 1:
            raise ValueError(f"floor={self.floor:g} must be at most 1, a share of the largest value")

    @abstractmethod
    def moves(self, case: Case) -> Measure:
        """d, of moved images."""

    def measure(self, case: Case) -> Measure:
        """See ``NeighbourMetric.measure``."""
        of_maps, moves = self.relative(case.clean_attributions), self.moves(case)

        def quotient(moved: Tensor) -> Tensor:
            return of_maps(case.explain(moved, case.target)) / moves(moved).clamp_min(self.least)

        return quotient

    def relative(self, base: Tensor) -> Measure:
        """A function from values to the l2 norm of their change relative to ``base``, value by value, float[B]."""
        base = base.flatten(1)
        largest = base.abs().amax(dim=1, keepdim=True)
        divisors = torch.maximum(base.abs(), self.floor * largest)

        def change(values: Tensor) -> Tensor:
            length: Tensor = ((values.flatten(1) - base) / divisors).norm(dim=1)
            return length.masked_fill(~(largest[:, 0] > 0), float("nan"))

        return change


@register("relative-input-stability")
@dataclass(frozen=True, kw_only=True)
class RelativeInputStability(RelativeStability):
    """Relative change of the map by that of the image, ``d = ‖δ / x‖₂`` (arXiv 2203.06877).

    See ``RelativeStability``.
    """

    @property
    def title(self) -> str:
        """E.g. ``rel. input stability (8/255, 10 draws)``."""
        return f"rel. input stability ({self.ball}, {self.samples} draws)"

    def moves(self, case: Case) -> Measure:
        """See ``RelativeStability.moves``."""
        return self.relative(case.clean)


@register("relative-output-stability")
@dataclass(frozen=True, kw_only=True)
class RelativeOutputStability(RelativeStability):
    """Relative change of the map by that of the logits, ``d = ‖f(x + δ) - f(x)‖₂`` (arXiv 2203.06877).

    d is in logits: a network whose logits are ten times as large has a tenth of the score. So this compares maps of one
    network, and networks only where their logits are about as large. See ``RelativeStability``.
    """

    @property
    def title(self) -> str:
        """E.g. ``rel. output stability (8/255, 10 draws)``."""
        return f"rel. output stability ({self.ball}, {self.samples} draws)"

    def moves(self, case: Case) -> Measure:
        """See ``RelativeStability.moves``."""
        logits = case.model(case.clean)

        def change(moved: Tensor) -> Tensor:
            distance: Tensor = (case.model(moved) - logits).norm(dim=1)
            return distance

        return change


@register("relative-representation-stability")
@dataclass(frozen=True, kw_only=True)
class RelativeRepresentationStability(RelativeStability):
    """Relative change of the map by that of a layer, ``d = ‖(L(x + δ) - L(x)) / L(x)‖₂`` (arXiv 2203.06877).

    L is what enters the last linear layer or convolution. (Quantus takes the outputs of all layers by default.) See
    ``RelativeStability``.

    Attributes:
        layer: dotted path of the layer whose output is L instead. Where the logits are not the output of a layer, one
            must be named.
    """

    layer: str = ""

    @property
    def title(self) -> str:
        """E.g. ``rel. representation stability (8/255, 10 draws)``."""
        layer = f", {self.layer}" if self.layer else ""
        return f"rel. representation stability ({self.ball}, {self.samples} draws{layer})"

    def check_network(self, model: nn.Module, x: Tensor) -> None:
        """Raise ValueError where there is no such layer, or none is known to make the logits."""
        with torch.no_grad():
            representing(model, x, self.layer)(x)

    def moves(self, case: Case) -> Measure:
        """See ``RelativeStability.moves``."""
        represent = representing(case.model, case.clean, self.layer)
        change = self.relative(represent(case.clean))
        return lambda moved: change(represent(moved))
