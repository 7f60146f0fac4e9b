"""Random numbers seeded by image, so that draws do not depend on the batch an image is in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attrobust.naming.spec import fingerprint


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from names and numbers, equal on every machine."""
    return int(fingerprint(list(parts))[:16], 16) >> 1


class ImageStreams:
    """One random stream per image.

    Args:
        seed: of the evaluation.
        ids: position of each image in the fixed list, one per row of the batch.
        purpose: name of the stream; streams of different purposes are independent.
    """

    def __init__(self, seed: int, ids: Sequence[int], purpose: str) -> None:
        self._generators = [torch.Generator().manual_seed(derive_seed(purpose, seed, int(i))) for i in ids]

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers uniform on [-1, 1], shaped and typed like the batch ``like``, drawn on the CPU for every device."""
        rows = [torch.rand(like.shape[1:], generator=generator, dtype=torch.float64) for generator in self._generators]
        return (2 * torch.stack(rows) - 1).to(like)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers, shaped, typed and drawn as ``uniform`` does."""
        rows = [torch.randn(like.shape[1:], generator=generator, dtype=torch.float64) for generator in self._generators]
        return torch.stack(rows).to(like)
