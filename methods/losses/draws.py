"""Random tensors shaped like a batch, from a loss's generator."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers uniform on [0, 1), shaped and typed like a tensor and on its device."""
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def gaussian(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers from N(0, 1), shaped and typed like a tensor and on its device."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
