"""Images that somebody handed in, in the place of an attack: ball, box and prediction are held as for any attack."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attrobust.arrays import Floats, Integers
from attrobust.attacks.base import Attack, Context


@dataclass(frozen=True, kw_only=True)
class Given(Attack):
    """Returns the images that were handed in, and clean ones in other places.

    Attributes:
        images: C×H×W in [0, 1], by position in the list.
    """

    images: dict[int, Tensor]

    @classmethod
    def of(cls, x: Floats, ids: Integers) -> Given:
        """From arrays: images N×C×H×W and their positions."""
        return cls(images={int(place): torch.from_numpy(image.copy()) for place, image in zip(ids, x, strict=True)})

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        """See ``Attack.run``."""
        rows = [self.images.get(place, clean) for place, clean in zip(context.ids, x, strict=True)]
        return torch.stack([row.to(x) for row in rows])
