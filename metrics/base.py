"""The contracts of metrics: a similarity compares two maps of an image, a quality scores one map or the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from attrobust.maps.reduction import reduce_map
from attrobust.maps.rows import is_finite
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.parts import in_parts
from attrobust.networks.findings import steady
from attrobust.networks.forward_only import ForwardOnly
from attrobust.places import ours
from attrobust.process import standard
from attrobust.storage import check_real
from attrobust.types import Scope

ROUNDING = 1e-9
"""Tolerance for rounding when a score is held against its bounds."""


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """A number for every image. Metrics derive from ``Similarity``, ``Quality`` or ``RetrainingMetric``.

    Attributes:
        higher_is_better: whether a larger value is better for the model.
        bounds: smallest and largest possible value.
        scale, decimals: tables print the value times ``scale`` with ``decimals`` digits after the point.
        scope: what a value depends on: an ``attack``; a ``map`` of clean images; the ``network`` alone; or a
            ``training`` on images changed according to maps. Decides how often the metric is computed and where it is
            printed.
        needs_masks: whether the metric needs a dataset with object masks.
        presets: settings of papers or official codes, by name, as typed; ``preset=NAME`` stands for them.

    A base class of metrics, without direction and bounds, is derived with ``kind=True``.
    """

    higher_is_better: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]]
    scale: ClassVar[float] = 1.0
    decimals: ClassVar[int] = 3
    scope: ClassVar[Scope] = "attack"
    needs_masks: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def __init_subclass__(cls, *, kind: bool = False) -> None:
        super().__init_subclass__()
        incomplete = not isinstance(getattr(cls, "higher_is_better", None), bool) or not hasattr(cls, "bounds")
        if incomplete and not kind:
            raise TypeError(f"metric {cls.__name__} must say higher_is_better = True or False, and bounds")

    @property
    def title(self) -> str:
        """The header of the metric's column."""
        return type(self).__name__

    @property
    def convention(self) -> str:
        """Addition to the header: which maps are compared, if not the protocol's."""
        return ""

    @property
    def without_effect(self) -> frozenset[str]:
        """Settings without effect beside the others as they are; typing one of them is an error."""
        return frozenset()

    def check_size(self, height: int, width: int) -> None:  # noqa: B027
        """Raise ValueError where the settings are invalid for maps of this size; called before anything is run."""

    def check_network(self, model: nn.Module, x: Tensor) -> None:  # noqa: B027
        """Raise ValueError where the metric has no value for a network; called before anything is run.

        Args:
            model: in evaluation mode, on the CPU.
            x: an image, 1×C×H×W.
        """

    def _checked(self, scores: Tensor, count: int, author: str) -> Tensor:
        """The scores in float64; raises ValueError unless there is one for each image, inside the bounds.

        Args:
            scores: as returned by the author's method.
            count: number of images.
            author: name of that method, for the error.
        """
        returned = f"{type(self).__name__}.{author} returned"
        if not isinstance(scores, Tensor):
            raise ValueError(f"{returned} {type(scores).__name__} for {count} images")
        if scores.shape != (count,):
            raise ValueError(f"{returned} {tuple(scores.shape)} for {count} images")
        check_real(scores, f"what {type(self).__name__}.{author} returns")
        values, (low, high) = _float64(scores), self.bounds
        outside = values[(values < low - ROUNDING) | (values > high + ROUNDING)]
        if len(outside):
            raise ValueError(f"{returned} {float(outside[0]):g}, and its bounds are {low:g} and {high:g}")
        return values


@dataclass(frozen=True, kw_only=True)
class CaseMetric(Metric, kind=True):
    """A metric that is computed for a batch of images without training: a ``Similarity`` or a ``Quality``."""

    @abstractmethod
    def score(self, case: Case) -> Tensor:
        """The scores of a batch, float64[B], NaN where undefined; called by the harness."""


@dataclass(frozen=True, kw_only=True)
class Similarity(CaseMetric, kind=True):
    """Compares two maps, image by image, in float64. Subclasses are frozen dataclasses of their settings.

    Attributes:
        maps: which maps are compared: the ``protocol``'s; those of another reduction, ``abs-sum``, ``sum`` or
            ``abs-max``; or unreduced attributions, signed (``channels``) or in absolute value (``abs-channels``).
    """

    maps: Literal["protocol", "abs-sum", "sum", "abs-max", "channels", "abs-channels"] = "protocol"

    @property
    def convention(self) -> str:
        """See ``Metric.convention``."""
        return "" if self.maps == "protocol" else self.maps

    @abstractmethod
    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """Similarity of two maps, which an author writes.

        Args:
            a, b: float64 maps flattened to B×D, the metric's own copies; ``a`` is the reference.

        Returns:
            float64[B]; NaN where undefined.
        """

    @final
    def score(self, case: Case) -> Tensor:
        """Similarity of the attacked images' maps to those of the clean ones."""
        if self.maps == "protocol":
            return self(case.clean_maps, case.attacked_maps)
        return self(self.chosen(case.clean_attributions), self.chosen(case.attacked_attributions))

    def chosen(self, attributions: Tensor) -> Tensor:
        """The maps that are compared by a setting other than ``protocol``, B×H×W or B×CH×W for unreduced ones."""
        match self.maps:
            case "channels":
                return attributions.flatten(1, 2)
            case "abs-channels":
                return attributions.abs().flatten(1, 2)
            case "protocol":
                raise ValueError("maps=protocol: only the protocol knows which")
            case reduction:
                return reduce_map(attributions, reduction)

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
        # Maps cost nothing to compare beside what they cost to make: none is too small.
        with standard(denormals=True):
            return in_parts(self._of_some, _float64(a), _float64(b))

    def _of_some(self, a: Tensor, b: Tensor) -> Tensor:
        usable = is_finite(a.flatten(1)) & is_finite(b.flatten(1))
        if not usable.all():
            a, b = a.nan_to_num(), b.nan_to_num()
        scores = self._checked(self._compared(a, b), len(a), "compare")
        return scores.masked_fill(~usable, float("nan"))

    def _compared(self, a: Tensor, b: Tensor) -> Tensor:
        return self.compare(a.flatten(1), b.flatten(1))


@dataclass(frozen=True, kw_only=True)
class SpatialSimilarity(Similarity, kind=True):
    """A similarity that depends on the positions of pixels: ``compare`` is given maps B×H×W."""

    def __post_init__(self) -> None:
        if self.maps in ("channels", "abs-channels"):
            raise ValueError(f"maps={self.maps} has no places; this metric needs one map for an image")

    @final
    def _compared(self, a: Tensor, b: Tensor) -> Tensor:
        return self.compare(a, b)


@dataclass(frozen=True, kw_only=True)
class Quality(CaseMetric, kind=True):
    """A score of a map with the model it explains, or of the model alone. Subclasses are frozen dataclasses.

    A subclass sets its ``scope``; only those of scope ``attack`` are given attacked images.
    """

    @abstractmethod
    def judge(self, case: Case) -> Tensor:
        """The score itself, which an author writes; gradients are off. No image's score may depend on other images.

        Returns:
            float64[B]; NaN where undefined.
        """

    @final
    def score(self, case: Case) -> Tensor:
        """The scores of a case, image by image.

        Returns:
            float64[B]. NaN where the metric is undefined.
        """
        with standard(), torch.no_grad(), ForwardOnly(), steady(ours(type(self))):
            return self._checked(self.judge(case.ordinary()), len(case.clean), "judge")


def _float64(values: Tensor) -> Tensor:
    """A copy in float64, detached; on the CPU where the device has no float64."""
    device = "cpu" if values.device.type == "mps" else values.device
    return values.detach().to(device, torch.float64, copy=True)
