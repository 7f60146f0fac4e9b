"""Explaining by masking: logits of partly greyed-out copies of an image, and their attribution to pixels."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust.explainers.base import Explainer, check_grey
from attrobust.explainers.shared.chunks import accumulate
from attrobust.explainers.shared.gradient import logit
from attrobust.maps.segments import Kind

Kept = Callable[[slice, slice], Tensor]
"""From rows of the batch and copies to the pixels that keep their value, bool[rows or 1, copies, H, W]."""


@dataclass(frozen=True, kw_only=True)
class MaskingExplainer(Explainer):
    """Compares logits of partly masked images.

    Attributes:
        baseline: grey level of masked pixels in pixel units; 0 is black.
    """

    varies_within_region: ClassVar[bool] = True

    baseline: float = 0.0

    def __post_init__(self) -> None:
        check_grey("baseline", self.baseline)


@dataclass(frozen=True, kw_only=True)
class SegmentExplainer(MaskingExplainer):
    """Switches segments of the image on and off; every pixel has the value of its segment, in all channels.

    Attributes:
        segments: squares, or superpixels found in each image. Superpixels are discontinuous in the image, so that the
            map is not differentiable with them.
        size: side of a square, or about that of a superpixel, in pixels.
    """

    segments: Kind = "grid"
    size: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segments not in typing.get_args(Kind):
            raise ValueError(f"segments={self.segments} must be one of {', '.join(typing.get_args(Kind))}")
        if self.size < 1:
            raise ValueError(f"size={self.size} must be at least 1 pixel")

    @property
    def differentiable(self) -> bool:
        """See ``Explainer.differentiable``."""
        return self.segments == "grid"

    def check_enough(self, x: Tensor, samples: int) -> None:
        """Raise ValueError where there are too few coalitions to determine a value for each segment."""
        expected = -(-x.shape[2] // self.size) * -(-x.shape[3] // self.size)
        if samples <= expected:
            raise ValueError(
                f"samples={samples} cannot determine {expected} segments of size={self.size}; "
                f"raise samples to {expected + 1} or more (several times that is better), or raise size"
            )

    def values(
        self, model: nn.Module, x: Tensor, target: Tensor, labels: Tensor, kept: Tensor, *, create_graph: bool
    ) -> Tensor:
        """The logits of coalitions of segments; see ``masked_logits``.

        Args:
            model, x, target, create_graph: as for ``attribute``.
            labels: as ``segments.find`` gives them, [L, H, W].
            kept: the segments that each copy keeps, bool[1 or L, copies, S].
        """
        first, place = first_occurrences(kept)
        index, table = labels.to(x.device), kept[:, first].to(x.device)

        def pixels(rows: slice, span: slice) -> Tensor:
            places, coalitions = (each if len(each) == 1 else each[rows] for each in (index, table))
            coalitions = coalitions[:, span].expand(len(places), -1, -1)
            flat = places.flatten(1)[:, None].expand(-1, coalitions.shape[1], -1)
            return coalitions.gather(2, flat).view(*flat.shape[:2], *places.shape[1:])

        values = masked_logits(model, x, target, pixels, table.shape[1], self.baseline, create_graph=create_graph)
        return values[:, place]


def first_occurrences(kept: Tensor) -> tuple[Tensor, Tensor]:
    """Where coalitions occur first: draws among few segments have most of them many times.

    Args:
        kept: bool[L, copies, S].

    Returns:
        The copies that differ from all before, in their order, int64[D], and of every copy the place among these that
        is the same, int64[copies].
    """
    which = torch.unique(kept, dim=1, return_inverse=True)[1]
    copies = torch.arange(len(which))
    first = torch.full_like(copies, len(which)).scatter_reduce(0, which, copies, "amin")[which]
    new = first == copies
    return copies[new], (new.cumsum(dim=0) - 1)[first]


def masked_logits(
    model: nn.Module, x: Tensor, target: Tensor, kept: Kept, copies: int, baseline: float, *, create_graph: bool
) -> Tensor:
    """The explained logit of masked copies of every image.

    Args:
        model, x, target, create_graph: as for ``Explainer.attribute``.
        kept: which pixels the copies keep.
        copies: number of copies of each image.
        baseline: grey level of the other pixels.

    Returns:
        float64[B, copies] on the CPU, since maps are small differences of large logits. All NaN for an image with a
        logit that is not finite.
    """

    def part(images: Tensor, rows: slice, span: slice, graph: bool) -> Tensor:
        with torch.set_grad_enabled(graph):
            masked = torch.where(kept(rows, span).unsqueeze(2), images.unsqueeze(1), baseline)
            classes = target[rows].repeat_interleave(masked.shape[1])
            return logit(model, masked.flatten(0, 1), classes).view(masked.shape[:2])

    values = accumulate(part, model, x, copies, create_graph=create_graph, join="cat").cpu().double()
    return values.masked_fill(~values.isfinite().all(dim=1, keepdim=True), torch.nan)


def gain(more: Tensor, less: Tensor) -> Tensor:
    """``more - less``, exactly 0 where the two are equal up to rounding in float64.

    Masking a segment that is the baseline grey already changes nothing but rounding, which depends on the batch;
    metrics that rank pixels would rank that rounding. The derivative is that of the difference.
    """
    difference = more - less
    rounding = difference.detach().abs() <= 1e-12 * torch.maximum(more.detach().abs(), less.detach().abs())
    return difference - difference.detach().masked_fill(~rounding, 0.0)


def paint(values: Tensor, labels: Tensor, x: Tensor) -> Tensor:
    """Maps in which each pixel has its segment's value.

    Args:
        values: float64[B, S] on the CPU.
        labels: the segments, [L, H, W].
        x: gives shape, dtype and device of the result.
    """
    flat = labels.flatten(1).expand(len(x), -1)
    return like(values.gather(1, flat).view(len(x), *x.shape[2:]), x)


def like(values: Tensor, x: Tensor) -> Tensor:
    """float64[B, H, W] on the CPU to all channels of ``x``, in its dtype and on its device."""
    return values.to(x.dtype).to(x.device).unsqueeze(1).repeat(1, x.shape[1], 1, 1)
