"""Structural similarity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.maps.rows import is_constant, scaled
from attrobust.maps.ssim import SIZE, ssim
from attrobust.metrics import register
from attrobust.metrics.base import SpatialSimilarity
from attrobust.naming.checks import above_zero


@register("ssim")
@dataclass(frozen=True, kw_only=True)
class SSIM(SpatialSimilarity):
    """Structural similarity, ``(2 μ_a μ_b + C1)(2 σ_ab + C2) / ((μ_a² + μ_b² + C1)(σ_a² + σ_b² + C2))`` over windows.

    The score is the mean over windows (Wang et al., IEEE Transactions on Image Processing 13(4), 2004) with
    ``C1 = (.01 L)²`` and ``C2 = (.03 L)²``. Window, edges and data range L change it strongly. The defaults are those
    of scikit-image, with L the range of the clean map. Undefined (NaN) where the clean map is constant, or the map that
    L is the range of. It is the only similarity here that depends on the scale of one map alone, unless ``normalize``
    removes it.

    Attributes:
        window: ``uniform``, or ``gaussian`` of standard deviation ``sigma``.
        size: side of the square window in pixels, odd.
        sigma: of the Gaussian window, in pixels.
        edges: ``inside``, the windows that lie in the map, or ``zero``, a window around every pixel, zeros outside.
        covariance: ``sample``, variances times n/(n-1) for windows of n pixels, or ``population``.
        range: L: range of the ``clean`` map, of the ``attacked`` one, of ``both`` together, or the number ``value``.
        value: L where ``range=value``.
        normalize: each map is first divided by its ``max`` or its ``sum`` of absolute values, or by nothing.
    """

    window: Literal["uniform", "gaussian"] = "uniform"
    size: int = SIZE
    sigma: float = 1.5
    edges: Literal["inside", "zero"] = "inside"
    covariance: Literal["sample", "population"] = "sample"
    range: Literal["clean", "attacked", "both", "value"] = "clean"
    value: float = 1.0
    normalize: Literal["none", "max", "sum"] = "none"

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    # The official code of AGA has the attacked map as its first, and takes the range of that over a whole batch; here
    # an image has its own. Bhusal et al. and ATEX do not normalise gradients.
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "aga": {
            "window": "gaussian",
            "edges": "zero",
            "covariance": "population",
            "range": "attacked",
            "normalize": "max",
            "maps": "abs-sum",
        },
        "atex": {
            "window": "gaussian",
            "size": "11",
            "covariance": "population",
            "range": "value",
            "maps": "abs-sum",
        },
        "bhusal": {"size": "5", "range": "value", "value": "2", "maps": "abs-sum"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 3 or self.size % 2 == 0:
            raise ValueError(f"size={self.size} must be odd and at least 3")
        above_zero(self, "sigma", "value")

    @property
    def title(self) -> str:
        """E.g. ``SSIM`` or ``SSIM (gaussian 11)``."""
        return "SSIM" if self.window == "uniform" and self.size == SIZE else f"SSIM ({self.window} {self.size})"

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Metric.without_effect``."""
        found = frozenset() if self.range == "value" else frozenset({"value"})
        return found | (frozenset() if self.window == "gaussian" else frozenset({"sigma"}))

    def check_size(self, height: int, width: int) -> None:
        """See ``Metric.check_size``: a window must fit into the map."""
        if self.edges == "inside" and self.size > min(height, width):
            raise ValueError(f"size={self.size} is more than the sides of a {height}×{width} map; try edges=zero")

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``SpatialSimilarity.compare``; raises ValueError where the window is larger than the maps."""
        self.check_size(a.shape[1], a.shape[2])
        constant = is_constant(a.flatten(1))
        if self.normalize != "none":
            a, b = (scaled(maps.flatten(1), self.normalize).view_as(maps) for maps in (a, b))
        scores = ssim(
            a,
            b,
            size=self.size,
            sigma=self.sigma if self.window == "gaussian" else None,
            edges=self.edges,
            covariance=self.covariance,
            span=self.value if self.range == "value" else self.range,
        )
        return scores.masked_fill(constant, float("nan")).clamp(-1.0, 1.0)
