"""The last feature map of a network."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from attrobust.networks.findings import remembered
from attrobust.networks.known import is_known
from attrobust.networks.smoothed import shared_copy


def last_map(model: nn.Module, network: nn.Module, image: Tensor, how: str) -> str:
    """``last_spatial`` of a copy of a network.

    Args:
        model: the network.
        network: a copy of it.
        image: 1×C×H×W. Of a known network only the shapes are asked for, by a batch of no images.
        how: names the way in which copies like ``network`` are made.
    """
    images = image[:0] if is_known(model) else image
    return remembered(model, image, f"last map {how}", lambda: last_spatial(network, images))


def last_spatial(model: nn.Module, images: Tensor) -> str:
    """Path of the module that is called last among those called once whose output is a map of more than one pixel.

    Raises:
        ValueError: there is none.
    """
    network = shared_copy(model)
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules() if name}
    calls: Counter[nn.Module] = Counter()
    spatial: list[nn.Module] = []

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        calls[module] += 1
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[2:].numel() > 1:
            spatial.append(module)

    for module in names:
        module.register_forward_hook(note)
    with torch.no_grad():
        # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
        network.forward(images)
    candidates = [names[module] for module in spatial if calls[module] == 1]
    if not candidates:
        raise ValueError("no module of the network has an output with height and width; name one, layer=PATH")
    return candidates[-1]
