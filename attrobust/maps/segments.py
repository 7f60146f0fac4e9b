"""Segments: groups of neighbouring pixels that explainers and metrics mask together.

A segmentation is ``labels``, int64[L, H, W] on the CPU, numbered from 0 without gaps; L is 1 where all images share it
and the batch size where each has its own, with its own number of segments.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from skimage.segmentation import felzenszwalb, quickshift, slic
from torch import Tensor

from attrobust.arrays import Floats, Integers

Kind = Literal["grid", "slic", "felzenszwalb", "quickshift"]


def find(x: Tensor, kind: Kind, size: int) -> Tensor:
    """The segments of each image.

    Args:
        x: finite images, B×C×H×W; superpixels need one channel or three.
        kind: squares, or scikit-image's superpixels, found in each image by itself and without random numbers.
        size: side of the squares in pixels (smaller at the right and lower border), or about that of a superpixel.

    Raises:
        ValueError: one segment would be the whole image; or superpixels of images with neither one nor three channels.
    """
    height, width = x.shape[2:]
    if size >= max(height, width):
        raise ValueError(f"size={size} makes a single segment of {height}×{width} images; lower it")
    if kind == "grid":
        return grid(x.shape[2], x.shape[3], size)[None]
    if x.shape[1] not in (1, 3):
        raise ValueError(f"segments={kind} needs images with 1 or 3 channels, not {x.shape[1]}; use segments=grid")
    # All as RGB in float64, so that settings are the same for grey images and segments do not depend on the precision.
    images = x.detach().cpu().double().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    labels = [np.unique(_superpixels(image, kind, size), return_inverse=True)[1] for image in images]
    return torch.from_numpy(np.stack(labels)).view(len(x), *x.shape[2:])


def grid(height: int, width: int, size: int) -> Tensor:
    """Squares in reading order, int64[H, W]."""
    across = -(-width // size)
    return torch.arange(height)[:, None] // size * across + torch.arange(width) // size


def counts(labels: Tensor) -> Tensor:
    """How many segments each image has, int64[L]."""
    return labels.flatten(1).amax(dim=1) + 1


def draw(labels: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """A random number uniform on [0, 1) for every sample and segment index, the same for all images.

    Returns:
        float64[L, samples, S], S the largest number of segments, with inf for segments that an image does not have.
    """
    # One for each possible segment (pixel): the number of segments depends on the batch, and draws must not.
    numbers = torch.rand(samples, labels[0].numel(), generator=generator, dtype=torch.float64)
    number = counts(labels)
    missing = torch.arange(int(number.max())) >= number[:, None]
    return numbers[:, : missing.shape[1]].expand(len(labels), -1, -1).masked_fill(missing[:, None], torch.inf)


def _superpixels(image: Floats, kind: Kind, size: int) -> Integers:
    """Labels of an H×W×3 image; the settings give superpixels of about size² pixels from 28×28 to 224×224 images."""
    labels: Integers
    if kind == "slic":
        pixels = image.shape[0] * image.shape[1]
        labels = slic(image, n_segments=max(1, round(pixels / size**2)), compactness=10, start_label=0)
    elif kind == "felzenszwalb":
        labels = felzenszwalb(image, scale=size, sigma=0.5, min_size=-(-(size**2) // 3))
    else:
        labels = quickshift(image, kernel_size=max(1, size / 8), max_dist=size, ratio=0.5)
    return labels
