"""The batches of training: their order, and how images are augmented."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.benchmark.data.base import Split
from attrobust.benchmark.training.recipe import Recipe
from attrobust.maps.seeds import derive_seed


def epoch_batches(
    split: Split, recipe: Recipe, seed: int, epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """The batches of an epoch in an order of its own, augmented: images, classes, and gaze maps where there are any.

    Args:
        split: what is trained on.
        recipe: batch size and augmentation.
        seed, epoch: decide order and augmentation.
        device: of the results.
    """
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    order: list[int] = torch.randperm(len(split), generator=generator).tolist()
    for start in range(0, len(order), recipe.batch_size):
        if start and start + 1 == len(order):
            return  # Batch normalisation cannot train on a last batch of one image.
        indices = order[start : start + recipe.batch_size]
        x, y = split.batch(indices)
        channels = x.shape[1]
        # The gaze map is one more channel, so that augmentation changes it with its image.
        together = torch.cat([x, split.gaze(indices)[:, None]], dim=1) if split.has_gaze else x
        together = _augment(together, recipe.augment, generator).to(device)
        gaze = together[:, channels] if split.has_gaze else None
        yield together[:, :channels], y.to(device), gaze


def _augment(x: Tensor, how: str, generator: torch.Generator) -> Tensor:
    if how == "none":
        return x
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)
    if how == "crop-flip":
        shifts = torch.randint(0, 9, (len(x), 2), generator=generator).tolist()
        padded = F.pad(x, (4, 4, 4, 4))
        height, width = x.shape[2:]
        x = torch.stack(
            [
                image[:, top : top + height, left : left + width]
                for image, (top, left) in zip(padded, shifts, strict=True)
            ]
        )
    return x
