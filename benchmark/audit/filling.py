"""Fills pixels that are taken away from an image with what is around them, so that the image stays a natural one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def filled(x: Tensor, kept: Tensor) -> Tensor:
    """Images in which pixels are replaced by means of the nearest ones that are kept.

    The image is halved in size again and again, each time with the means of the pixels that are kept; a pixel takes
    its value from the first size in which its place has one, interpolated bilinearly. It stands for the linear system
    that ROAD solves (Rong et al. 2022, arXiv:2202.00449) and takes time in proportion to the pixels.

    Args:
        x: B×C×H×W.
        kept: bool B×1×H×W; where no pixel of an image is kept, the image becomes 0.
    """
    sums, weights = [torch.where(kept, x, torch.zeros_like(x))], [kept.to(x)]
    while max(sums[-1].shape[2:]) > 1:
        sums.append(_halved(sums[-1]))
        weights.append(_halved(weights[-1]))
    coarse = torch.zeros_like(sums[-1])
    for values, weight in zip(reversed(sums), reversed(weights), strict=True):
        coarse = F.interpolate(coarse, size=values.shape[2:], mode="bilinear", align_corners=False)
        coarse = torch.where(weight > 0, values / weight.clamp_min(torch.finfo(x.dtype).tiny), coarse)
    return coarse


def _halved(x: Tensor) -> Tensor:
    """Means over squares of 2×2 pixels, which are smaller at an odd border."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
