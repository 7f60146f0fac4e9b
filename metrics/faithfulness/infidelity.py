"""Infidelity: how well a map predicts the change of the logit under perturbations: Yeh et al. 2019."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.filling import Fill, filled
from attrobust.metrics.shared.logits import target_logit
from attrobust.naming.checks import above_zero, at_least
from attrobust.types import Scope


@register("infidelity")
@dataclass(frozen=True, kw_only=True)
class Infidelity(Quality):
    """Infidelity ``E_I[(β ⟨I, φ⟩ - Δ)²]``, ``Δ = f_c(x) - f_c(x - I)``, φ the signed attributions (arXiv 1901.09392).

    The paper's definition, ``factor=none``, is in squared logits. It is small for every network with small gradients,
    whatever its maps, so it does not compare networks. The default, ``relative``, is the share of the logit's squared
    change that the map does not predict, from 0 (all is predicted) to 1 (nothing is).

    With ``baseline`` all perturbations of an image have ``x - fill`` in common, which a factor fits for any map: then
    ``optimal`` and ``relative`` are too good for uninformative maps; with ``noise`` and ``square`` they are not.

    Perturbed images are not clamped to [0, 1], which would change ``I``. NaN where an attribution is not finite; with a
    factor also where every ``⟨I, φ⟩`` is zero, as for a map of zeros, since no factor is then best; and with
    ``relative`` where the logit never changes.

    Attributes:
        perturbation: ``noise``, ``I ~ N(0, sigma²)``; ``baseline``, ``I = x - z`` with z the fill colour plus
            ``N(0, sigma²)`` noise, clamped to [0, 1]; or ``square``, ``I = x - z`` with z the fill colour in a random
            square, and x elsewhere.
        attribution: unit of a map's values. ``slope``: logits per pixel unit, as gradients. ``share``: logits, as
            integrated gradients and other products with the input; ``⟨I, φ⟩`` is then the sum of the map over the
            square.
        factor: β. ``none`` is 1. ``optimal`` is the best for the image, ``E[⟨I, φ⟩ Δ] / E[⟨I, φ⟩²]``, as in the paper's
            code. ``relative`` is optimal, with the score divided by ``E[Δ²]``: 1 minus the square of the uncentred
            correlation of ``⟨I, φ⟩`` and Δ.
        samples: draws for each image.
        sigma: of noise and baseline, in pixel units.
        side: of the largest square in pixels; sides are drawn from 1 to this, then positions.
        fill: of baseline and square: ``mean``, the colour that is zero in normalised units, or ``black``.
    """

    perturbation: Literal["noise", "baseline", "square"] = "noise"
    attribution: Literal["slope", "share"] = "slope"
    factor: Literal["none", "optimal", "relative"] = "relative"
    samples: int = 50
    sigma: float = 0.2
    side: int = 10
    fill: Fill = "mean"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    scope: ClassVar[Scope] = "map"
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "yeh": {
            "perturbation": "baseline",
            "attribution": "slope",
            "factor": "optimal",
            "samples": "10000",
            "sigma": "0.2",
            "fill": "black",
        },
        # The paper's code takes every square in 28×28 pixels once; this is the same number of draws.
        "yeh-square": {
            "perturbation": "square",
            "attribution": "share",
            "factor": "optimal",
            "samples": "5605",
            "side": "10",
            "fill": "black",
        },
    }

    def __post_init__(self) -> None:
        at_least(1, self, "samples", "side")
        above_zero(self, "sigma")
        if self.samples < 2 and self.factor != "none":
            raise ValueError(f"samples={self.samples} must be at least 2: the factor {self.factor} fits a single draw")
        if self.attribution == "share" and self.perturbation != "square":
            raise ValueError(f"attribution=share needs perturbation=square: {self.perturbation} removes no pixels")

    @property
    def title(self) -> str:
        """E.g. ``infidelity (noise, relative)``."""
        return f"infidelity ({self.perturbation}, {self.factor})"

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Metric.without_effect``."""
        return frozenset({"noise": {"side", "fill"}, "baseline": {"side"}, "square": {"sigma"}}[self.perturbation])

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where the largest square does not fit into the image."""
        if self.perturbation == "square" and self.side > min(height, width):
            raise ValueError(f"side={self.side} is more than the {min(height, width)} pixels of an image's side")

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        raw = case.clean_attributions
        usable = raw.flatten(1).isfinite().all(dim=1)
        # Divided by the largest value, so that squares stay finite; the factor compensates for it.
        slopes = raw if self.factor == "none" else raw / raw.abs().amax(dim=(1, 2, 3), keepdim=True)
        before = target_logit(case.model, case.clean, case.target)
        predictions, changes = [], []
        for moved, weight in self.draws(case):
            predictions.append((slopes * weight).sum(dim=(1, 2, 3)))
            changes.append(before - target_logit(case.model, moved, case.target))
        predicted, change = torch.stack(predictions), torch.stack(changes)
        if self.factor != "none":
            predicted = predicted * (predicted * change).sum(dim=0) / predicted.square().sum(dim=0)
        score = (predicted - change).square().mean(dim=0)
        if self.factor == "relative":
            score = (score / change.square().mean(dim=0)).clamp(0.0, 1.0)
        return score.masked_fill(~usable, float("nan"))

    def draws(self, case: Case) -> Iterator[tuple[Tensor, Tensor]]:
        """``x - I`` and the weights that φ is multiplied by, ``samples`` times; both B×C×H×W."""
        x, streams = case.clean, case.streams("infidelity")
        colour = filled(case, self.fill)
        for _ in range(self.samples):
            if self.perturbation == "square":
                inside = squares(streams.uniform(x.new_empty(len(x), 3)), self.side, x.shape[2], x.shape[3])
                moved = torch.where(inside[:, None], colour, x)
                yield moved, inside[:, None].to(x) if self.attribution == "share" else x - moved
                continue
            noise = self.sigma * streams.normal(x)
            moved = x - noise if self.perturbation == "noise" else (colour + noise).clamp(0.0, 1.0)
            yield moved, x - moved


def squares(draws: Tensor, side: int, height: int, width: int) -> Tensor:
    """Random squares, bool B×H×W: the side is uniform from 1 to ``side``, the position uniform inside the image.

    Args:
        draws: uniform on [-1, 1], B×3: for side, row and column.
        side: at most ``height`` and ``width``.
        height, width: of an image.
    """
    share = (draws + 1) / 2
    sides = whole(share[:, 0], side) + 1
    inside = torch.ones(len(draws), height, width, dtype=torch.bool, device=draws.device)
    for axis, length in ((1, height), (2, width)):
        first = whole(share[:, axis], length - sides + 1)
        place = torch.arange(length, device=draws.device)
        along = (place >= first[:, None]) & (place < (first + sides)[:, None])
        inside &= along[:, :, None] if axis == 1 else along[:, None, :]
    return inside


def whole(share: Tensor, count: Tensor | int) -> Tensor:
    """``⌊share · count⌋`` for shares from 0 to 1, int64[B], at most ``count - 1``."""
    numbers = (share * count).long()
    # A share may have been rounded to 1.
    return torch.minimum(numbers, torch.as_tensor(count - 1, device=share.device))
