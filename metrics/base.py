"""The contract of a similarity: how much two maps of the same image have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Similarity(ABC):
    """Compares two maps, image by image, in float64. Subclasses are frozen dataclasses of their settings.

    Attributes:
        higher_is_better: whether a larger value means that the map held still.
        bounds: smallest and largest possible value.
        scale, decimals: tables print the value times ``scale`` with so many digits after the point.
    """

    higher_is_better: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]]
    scale: ClassVar[float] = 1.0
    decimals: ClassVar[int] = 3

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not isinstance(getattr(cls, "higher_is_better", None), bool) or not hasattr(cls, "bounds"):
            raise TypeError(f"metric {cls.__name__} must say higher_is_better = True or False, and bounds")

    @property
    def title(self) -> str:
        """What a table's header says."""
        return type(self).__name__

    def check_size(self, height: int, width: int) -> None:  # noqa: B027
        """Raise ValueError where the settings make no sense for maps of this size; called before anything is run."""

    @abstractmethod
    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """What an author writes.

        Args:
            a, b: float64 maps flattened to B×D; ``a`` is the reference.

        Returns:
            float64[B]; NaN where undefined.
        """

    @final
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Similarity of maps ``b`` to the reference maps ``a``.

        Args:
            a, b: B×H×W of any float type, on the same device.

        Returns:
            float64[B]. NaN where the metric is undefined, and always where either map has a value that is not finite.

        Raises:
            ValueError: the shapes differ or are not B×H×W.
        """
        if a.shape != b.shape or a.dim() != 3:
            raise ValueError(f"maps must be two B×H×W tensors of one shape, not {tuple(a.shape)} and {tuple(b.shape)}")
        a, b = (_float64(maps).flatten(1) for maps in (a, b))
        usable = a.isfinite().all(dim=1) & b.isfinite().all(dim=1)
        score = self.compare(a.nan_to_num(), b.nan_to_num())
        if score.shape != (len(a),):
            raise ValueError(f"{type(self).__name__}.compare returned {tuple(score.shape)} for {len(a)} images")
        return score.masked_fill(~usable, float("nan"))


def _float64(maps: Tensor) -> Tensor:
    """Detached and in float64, on the CPU where the device has no float64."""
    maps = maps.detach()
    return (maps.cpu() if maps.device.type == "mps" else maps).double()
