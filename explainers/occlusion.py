"""Occlusion: Zeiler and Fergus 2014."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.masking import MaskingExplainer, gain, like, masked_logits


@register("occlusion")
@dataclass(frozen=True, kw_only=True)
class Occlusion(MaskingExplainer):
    """Mean drop of the logit, ``f_c(x) - f_c(x without w)``, over the windows w that cover the pixel (arXiv 1311.2901).

    Windows start every ``stride`` pixels, and the last one of a row or column is cut off at the border, as in Captum.

    Attributes:
        window: side of the square in pixels.
        stride: pixels from one window to the next; at most ``window``, so that every pixel is covered.
    """

    window: int = 4
    stride: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1:
            raise ValueError(f"window={self.window} must be at least 1 pixel")
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"stride={self.stride} must be between 1 and window={self.window}")

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits; all channels alike.

        Raises:
            ValueError: images smaller than the window.
        """
        if min(x.shape[2:]) < self.window:
            raise ValueError(f"window={self.window} is larger than the images, {x.shape[2]}×{x.shape[3]}")
        down, across = (intervals(length, self.window, self.stride) for length in x.shape[2:])
        # The first copy is the image itself: its window has no pixels.
        masked_rows = torch.cat([torch.zeros_like(down[:1]), down]).to(x.device)
        masked_columns = across.to(x.device)

        def kept(_rows: slice, span: slice) -> Tensor:
            window = torch.arange(span.start, span.stop, device=x.device) - 1
            rows = masked_rows[window // len(across) + 1]
            columns = masked_columns[window % len(across)]
            return ~(rows[:, :, None] & columns[:, None, :]).unsqueeze(0)

        copies = 1 + len(down) * len(across)
        values = masked_logits(model, x, target, kept, copies, self.baseline, create_graph=create_graph)
        drops = gain(values[:, :1], values[:, 1:]).view(len(x), len(down), len(across))
        sums = down.double().T @ drops @ across.double()
        return like(sums / torch.outer(down.sum(dim=0), across.sum(dim=0)), x)


def intervals(length: int, size: int, stride: int) -> Tensor:
    """Which pixels each window covers along one side of the image, bool[windows, length]."""
    starts = stride * torch.arange(-(-(length - size) // stride) + 1)[:, None]
    pixel = torch.arange(length)
    return (starts <= pixel) & (pixel < starts + size)
