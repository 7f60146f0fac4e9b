"""Smoothing blocks for feature maps inside a network: Bhusal et al. 2026."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Blur(nn.Conv2d):
    """Every channel convolved with one fixed kernel; borders are reflected. The kernel is not in the state dict.

    Args:
        channels: of the maps.
        kernel: k×k with k odd.
    """

    def __init__(self, channels: int, kernel: Tensor) -> None:
        side = kernel.shape[0]
        super().__init__(
            channels, channels, side, padding=side // 2, groups=channels, bias=False, padding_mode="reflect"
        )
        del self.weight
        self.register_buffer("weight", kernel.expand(channels, 1, side, side).clone(), persistent=False)


class Median(nn.Module):
    """The median of every 3×3 window of every channel; borders are reflected."""

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the same."""
        windows = F.pad(x, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        # Not torch.median, which is not deterministic on every device.
        return windows.sort(dim=4).values[..., 4]


class SmoothingBlock(nn.Module):
    """``x + W filter(x) + b`` with W over channels only, a 1×1 convolution.

    Args:
        channels: of the maps.
        smooth: the filter, from maps to maps of the same size.
    """

    def __init__(self, channels: int, smooth: nn.Module) -> None:
        super().__init__()
        self.filter = smooth
        self.conv = nn.Conv2d(channels, channels, 1)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the same."""
        return x + self.conv(self.filter(x))  # type: ignore[no-any-return]


def gaussian_kernel(sigma: float) -> Tensor:
    """A 3×3 Gaussian kernel of standard deviation ``sigma`` in pixels that sums to 1."""
    weights = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64).square().div(-2 * sigma**2).exp()
    weights /= weights.sum()
    return torch.outer(weights, weights).to(torch.get_default_dtype())
