"""AGA's bound of the angle between the gradients of an image and of a random neighbour: Joo et al., AAAI 2023."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import gradient, length, second_order
from attrobust.naming.checks import above_zero, at_least, in_pixel_units
from attrobust.threat import format_eps
from attrobust.types import Scope


@register("aga-bound")
@dataclass(frozen=True, kw_only=True)
class AgaBound(Quality):
    """AGA's bound, mean of ``||H(x) δ||₂ / ||∇f(x + δ)||₂`` over random δ, H the logit's Hessian (arXiv 2211.15900).

    To first order in δ it bounds the sine of the angle between the gradients at x and at x + δ, whatever their lengths:
    a small Hessian is not enough where the gradient is small too. Both terms are in pixel units, and x + δ may leave
    [0, 1], as in the paper's training; its official evaluation clamps to the smallest and largest pixel of the batch,
    on which no image's score depends here. Undefined (NaN) where a neighbour's gradient is zero.

    Undefined too for a network with piecewise linear activations, such as ReLU: its gradient changes only at kinks,
    where the second derivative does not exist.

    Attributes:
        radius: largest change of a pixel, or its standard deviation for ``normal`` noise, in pixel units.
        samples: number of draws.
        noise: δ ``uniform`` on the linf ball, as the paper trains, or ``normal``, as its official evaluation draws.
    """

    radius: float = 4 / 255
    samples: int = 10
    noise: Literal["uniform", "normal"] = "uniform"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    scope: ClassVar[Scope] = "network"
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "aga": {"radius": "4/255", "samples": "10", "noise": "normal"}
    }

    def __post_init__(self) -> None:
        if self.noise not in ("uniform", "normal"):
            raise ValueError(f"noise={self.noise} must be uniform or normal")
        above_zero(self, "radius")
        in_pixel_units(self, "radius")
        at_least(1, self, "samples")

    @property
    def title(self) -> str:
        """E.g. ``AGA's bound at 4/255``."""
        return f"AGA's bound at {format_eps(self.radius)}"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        _, product = second_order(case.model, case.clean, case.target, "logit")
        streams = case.streams("aga-bound")
        total = torch.zeros_like(case.clean[:, 0, 0, 0])
        for _ in range(self.samples):
            draw = streams.uniform if self.noise == "uniform" else streams.normal
            delta = self.radius * draw(case.clean)
            size = length(gradient(case.model, case.clean + delta, case.target, "logit"))
            total += length(product(delta)) / size.masked_fill(size == 0, float("nan"))
        return total / self.samples
