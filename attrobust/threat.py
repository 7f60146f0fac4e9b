"""The threat model: norm ball, pixel box and whether the prediction must be kept. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

CONTAINMENT_TOLERANCE = 1e-6
"""Slack, in pixel units, for the float32 rounding of ``x0 + delta`` when membership of a ball is checked."""


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """Constraints on an attacked image: norm ball, pixel box [0, 1], and whether the prediction must be kept.

    Attributes:
        norm: ``linf`` bounds every pixel's change, ``l2`` the Euclidean norm over channels and pixels.
        eps: radius of the ball in pixel units, e.g. ``8 / 255``; never in normalised units.
        keep_prediction: whether the model's predicted class must stay what it was.
    """

    norm: Literal["linf", "l2"] = "linf"
    eps: float
    keep_prediction: bool = True

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise ValueError(f"norm must be linf or l2, not {self.norm!r}")
        largest = 1.0 if self.norm == "linf" else math.inf
        if not 0 <= self.eps <= largest:
            raise ValueError(f"eps={self.eps:g} must be between 0 and {largest:g} in pixel units (write 8/255, not 8)")

    def project(self, x0: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Project onto ball and pixel box: for linf the nearest point, for l2 the nearest point of the ball, clamped.

        Args:
            x0: clean images, B×C×H×W in [0, 1].
            x: candidates of the same shape.
        """
        delta = _wide(x) - _wide(x0)
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            length = delta.flatten(1).norm(dim=1).clamp_min(1e-30)
            delta = delta * (self.eps / length).clamp_max(1.0).view(-1, 1, 1, 1)
        return (_wide(x0) + delta).clamp(0.0, 1.0).to(x0)

    def contains(self, x0: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """bool[B]: finite, inside the pixel box and, up to rounding, inside the ball."""
        delta = (_wide(x) - _wide(x0)).flatten(1)
        size = delta.abs().amax(dim=1) if self.norm == "linf" else delta.norm(dim=1)
        pixels = x.flatten(1)
        inside = (pixels.amin(dim=1) >= 0) & (pixels.amax(dim=1) <= 1)
        return pixels.isfinite().all(dim=1) & inside & (size <= self.eps + CONTAINMENT_TOLERANCE)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """The unit step of steepest ascent in this norm; zero where the gradient is zero or not finite."""
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        if self.norm == "linf":
            return gradient.sign()
        from attrobust.maps.lengths import PIXELS, unit  # Not above: this module imports no torch.

        return unit(gradient, PIXELS)

    def scatter(self, x0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Random points of ball and box, made from ``noise`` uniform on [-1, 1], shaped like ``x0``.

        For ``linf`` the points are uniform in the cube; for ``l2`` they lie on the sphere of radius eps,
        where almost all of a high-dimensional ball is.
        """
        if self.norm == "l2":
            noise = noise / _wide(noise).flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
        return self.project(x0, x0 + self.eps * noise)

    def __str__(self) -> str:
        return f"{self.norm} {format_eps(self.eps) if self.norm == 'linf' else format(self.eps, 'g')}"


def _wide(x: torch.Tensor) -> torch.Tensor:
    """``x`` in float64 where the device has it; float32 norms of 150,000 numbers are off by more than the tolerance."""
    return x if x.device.type == "mps" else x.double()


def format_eps(eps: float) -> str:
    """``0.0313725`` as ``8/255`` where it is a whole number of grey levels, else as a decimal."""
    levels = eps * 255
    if levels and abs(levels - round(levels)) < 1e-9:
        return f"{round(levels)}/255"
    return f"{eps:g}"
