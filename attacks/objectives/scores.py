"""Similarity scores as differentiable objectives: each takes clean maps B×H×W and returns a function of other maps.

They are lower for a stronger attack and NaN where undefined, like the metrics of the same names.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from attrobust.attacks.engine.feasible import Objective

Norm = Literal["l2", "sum", "max"]
WINDOW = 7
"""Side of the square that SSIM compares, in pixels."""
MAP = (1, 2)
"""Axes of one map in a batch."""


def cosine(clean: Tensor) -> Objective:
    """Cosine, ``⟨a, b⟩ / (‖a‖ ‖b‖)``."""
    goal = normalized(clean, "l2")
    return lambda maps: (normalized(maps, "l2") * goal).sum(dim=MAP)


def normalized_l2(clean: Tensor, by: Norm = "l2") -> Objective:
    """Minus the distance of normalised maps, ``‖a/n(a) - b/n(b)‖₂``.

    Args:
        clean: maps, B×H×W.
        by: the norm n that each map is divided by.
    """
    goal = normalized(clean, by)
    return lambda maps: -(normalized(maps, by) - goal).flatten(1).norm(dim=1)


def pearson(clean: Tensor) -> Objective:
    """Pearson's correlation of the values at all pixels."""
    goal = normalized(centred(clean), "l2")
    return lambda maps: (normalized(centred(maps), "l2") * goal).sum(dim=MAP)


def ssim(clean: Tensor) -> Objective:
    """Mean structural similarity (Wang et al., 2004) over all 7×7 windows that lie inside the map, evenly weighted.

    Variances are those of samples (divided by 48), the constants .01 and .03 times the range of the clean map: the
    defaults of scikit-image. It is the only score here that depends on the scale of a map.
    """
    low, high = clean.amin(dim=MAP, keepdim=True), clean.amax(dim=MAP, keepdim=True)
    # Values are shifted and scaled to the range of the clean map, so that variances do not cancel in float32.
    middle, span = (low + high) / 2, high - low
    shift = middle / span
    a = (clean - middle) / span
    mean_a, square_a = _windows(a), _windows(a * a)
    sample = WINDOW**2 / (WINDOW**2 - 1)

    def similarity(maps: Tensor) -> Tensor:
        b = (maps - middle) / span
        mean_b = _windows(b)
        variances = sample * (square_a - mean_a**2 + _windows(b * b) - mean_b**2)
        covariance = sample * (_windows(a * b) - mean_a * mean_b)
        true_a, true_b = mean_a + shift, mean_b + shift
        luminance = (2 * true_a * true_b + 0.01**2) / (true_a**2 + true_b**2 + 0.01**2)
        return (luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)).mean(dim=MAP)

    return similarity


def normalized(maps: Tensor, by: Norm) -> Tensor:
    """Maps divided by their own norm, B×H×W, without underflow for small ones; NaN where they are zero everywhere."""
    # Detached, since the result does not depend on this factor.
    maps = maps / maps.detach().abs().amax(dim=MAP, keepdim=True)
    if by == "l2":
        return maps / maps.square().sum(dim=MAP, keepdim=True).sqrt()
    size = maps.abs()
    return maps / (size.amax(dim=MAP, keepdim=True) if by == "max" else size.sum(dim=MAP, keepdim=True))


def centred(maps: Tensor) -> Tensor:
    """Maps minus their means, B×H×W."""
    return maps - maps.mean(dim=MAP, keepdim=True)


def _windows(maps: Tensor) -> Tensor:
    """Means over all windows that lie inside the map, B×(H-6)×(W-6)."""
    return F.avg_pool2d(maps[:, None], WINDOW, stride=1).squeeze(1)
