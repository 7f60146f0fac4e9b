"""Whether tensors are images: of floats, B×C×H×W, with pixels in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from attrobust.storage import check_in_memory

ROUNDING = 1e-6
"""Distance from [0, 1], in pixel units, that is attributed to rounding."""
NORMALISE = "pixels are in [0, 1] and networks normalise inside"


_trusted: ContextVar[bool] = ContextVar("pixels are known to be in range", default=False)


@contextmanager
def pixels_trusted(trusted: bool) -> Iterator[None]:
    """Inside the block, on this thread, whether the range of images that explainers are given is not looked at.

    For attacks of this package only, each of whose points is projected into [0, 1]: to look means to wait for a GPU at
    every step.
    """
    token = _trusted.set(trusted)
    try:
        yield
    finally:
        _trusted.reset(token)


def are_pixels_trusted() -> bool:
    """See ``pixels_trusted``."""
    return _trusted.get()


def check_kind(x: Tensor, what: str) -> None:
    """Raise ValueError unless a tensor is a batch of float images, whatever its values; ``what`` names it."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{what} must be a tensor B×C×H×W, not {type(x).__name__}")
    check_in_memory(x, what)
    if x.dim() != 4:
        raise ValueError(f"{what} must be B×C×H×W, not {'×'.join(map(str, x.shape)) or 'a single number'}")
    if not x.is_floating_point() or x.dtype.itemsize < 2:
        kind = f"floats of 16 bits or more, not {x.dtype}"
        raise ValueError(f"{what} must be {kind}: {NORMALISE}; divide 8-bit pixels by 255")


def check_like(x: Tensor, model: nn.Module, what: str) -> None:
    """Raise ValueError unless images have the type of numbers of a network's weights, as far as it has any."""
    kind = next((weights.dtype for weights in model.parameters() if weights.is_floating_point()), x.dtype)
    if x.dtype != kind:
        raise ValueError(f"{what} are {x.dtype}, and the network's weights {kind}; turn one into the other")


def check_pixels(x: Tensor, what: str, margin: float = 0.0) -> None:
    """Raise ValueError unless a tensor is a batch of float images that are finite and in [0, 1].

    Args:
        x: the images.
        what: names them in the error.
        margin: how far outside [0, 1] pixels may be.
    """
    check_kind(x, what)
    if not x.numel():
        return
    low, high = torch.stack(x.detach().aminmax()).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{what} must be finite, and has a pixel that is NaN or infinite")
    if low < -margin - ROUNDING or high > 1 + margin + ROUNDING:
        raise ValueError(f"{what} must be in [0, 1], and has pixels from {low:.6g} to {high:.6g}: {NORMALISE}")
