"""The first step of a training, without its optimiser: for finding out whether it works, and what it takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from attrobust.benchmark.data.base import Split
from attrobust.benchmark.training.batches import epoch_batches
from attrobust.benchmark.training.recipe import Recipe
from attrobust.methods.base import SCRATCH, Batch, Method
from attrobust.networks.copying import independent_copy


def first_step(
    network: nn.Module, method: Method, split: Split, recipe: Recipe, device: torch.device
) -> Callable[[], None]:
    """What computes all gradients of the first batch of a training, as often as it is called.

    Args:
        network: untrained, of the method, on the device; it is put into training mode and gets gradients.
        method: that trains it.
        split: the training images.
        recipe: of which the size of a batch counts.
        device: to compute on.
    """
    network.train()
    start = None if method.start == SCRATCH else independent_copy(network).eval().requires_grad_(False)
    x, y, gaze = next(iter(epoch_batches(split, recipe, 0, 0, device)))
    batch = Batch(x=x, y=y, generator=torch.Generator(device).manual_seed(0), progress=0.5, start=start, gaze=gaze)

    def step() -> None:
        for loss in method.losses(network, batch):
            network.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]

    return step
