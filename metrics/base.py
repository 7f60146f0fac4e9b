"""The contracts of metrics: a similarity compares two maps of an image, a quality judges a map with its model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Case:
    """Images before and after an attack, the model that decides about them, and how its decisions are explained.

    Attributes:
        model: the scored network, in evaluation mode and in float64 where the device has it; to be left as it is.
        clean, attacked: images in [0, 1], B×C×H×W, typed like the model.
        target: the class the protocol explains, int64[B].
        explain: signed attributions B×C×H×W from images B×C×H×W and classes int64[B], as they are scored: a stochastic
            explainer uses the same draws every time.
        reduce: B×C×H×W attributions to B×H×W maps, as the protocol scores them.
    """

    model: nn.Module
    clean: Tensor
    attacked: Tensor
    target: Tensor
    explain: Callable[[Tensor, Tensor], Tensor]
    reduce: Callable[[Tensor], Tensor]

    @cached_property
    def maps(self) -> tuple[Tensor, Tensor]:
        """Maps of the clean and of the attacked images, both of the class ``target``, B×H×W; computed once."""
        clean, attacked = (self.reduce(self.explain(x, self.target)) for x in (self.clean, self.attacked))
        return clean, attacked


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """A number for every image of a case. What metrics derive from is ``Similarity`` or ``Quality``.

    Attributes:
        higher_is_better: whether a larger value speaks for the model.
        bounds: smallest and largest possible value.
        scale, decimals: tables print the value times ``scale`` with so many digits after the point.

    A class that is itself a kind of metric, with no direction or bounds of its own, is derived with ``kind=True``.
    """

    higher_is_better: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]]
    scale: ClassVar[float] = 1.0
    decimals: ClassVar[int] = 3

    def __init_subclass__(cls, *, kind: bool = False) -> None:
        super().__init_subclass__()
        mute = not isinstance(getattr(cls, "higher_is_better", None), bool) or not hasattr(cls, "bounds")
        if mute and not kind:
            raise TypeError(f"metric {cls.__name__} must say higher_is_better = True or False, and bounds")

    @property
    def title(self) -> str:
        """What a table's header says."""
        return type(self).__name__

    def check_size(self, height: int, width: int) -> None:  # noqa: B027
        """Raise ValueError where the settings make no sense for maps of this size; called before anything is run."""

    @abstractmethod
    def score(self, case: Case) -> Tensor:
        """What the harness asks: float64[B], NaN where undefined."""

    def _checked(self, scores: Tensor, count: int, author: str) -> Tensor:
        """In float64 and one for each image, or a ValueError that names what the author wrote."""
        if scores.shape != (count,):
            raise ValueError(f"{type(self).__name__}.{author} returned {tuple(scores.shape)} for {count} images")
        return _float64(scores)


@dataclass(frozen=True, kw_only=True)
class Similarity(Metric, kind=True):
    """Compares two maps, image by image, in float64. Subclasses are frozen dataclasses of their settings."""

    @abstractmethod
    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """What an author writes.

        Args:
            a, b: float64 maps flattened to B×D; ``a`` is the reference.

        Returns:
            float64[B]; NaN where undefined.
        """

    @final
    def score(self, case: Case) -> Tensor:
        """Similarity of the attacked images' maps to those of the clean ones."""
        return self(*case.maps)

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
        scores = self._checked(self.compare(a.nan_to_num(), b.nan_to_num()), len(a), "compare")
        return scores.masked_fill(~usable, float("nan"))


@dataclass(frozen=True, kw_only=True)
class Quality(Metric, kind=True):
    """Judges maps with the model they explain. Subclasses are frozen dataclasses of their settings."""

    @abstractmethod
    def judge(self, case: Case) -> Tensor:
        """What an author writes; no graph is kept. An image's score must not depend on the other images of the case.

        Returns:
            float64[B]; NaN where undefined.
        """

    @final
    def score(self, case: Case) -> Tensor:
        """Judge the maps of a case, image by image.

        Returns:
            float64[B]. NaN where the metric is undefined.
        """
        with torch.no_grad():
            return self._checked(self.judge(case), len(case.clean), "judge")


def _float64(values: Tensor) -> Tensor:
    """Detached and in float64, on the CPU where the device has no float64."""
    values = values.detach()
    return (values.cpu() if values.device.type == "mps" else values).double()
