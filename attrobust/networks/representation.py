"""The inner representation of an image: what enters the last layer of a network, or the output of a named layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from attrobust.naming.suggest import did_you_mean
from attrobust.networks.findings import remembered
from attrobust.networks.smoothed import make_out_of_place, shared_copy

LAST = (nn.Linear, _ConvNd)
"""Layers that make logits."""


def representing(model: nn.Module, x: Tensor, layer: str = "") -> Callable[[Tensor], Tensor]:
    """A function from images B×C×H×W to their representation, B×D.

    Each call is one pass, which counts as the model's. The model itself is left alone.

    Args:
        model: evaluating.
        x: images, of which one is used to find the layer.
        layer: dotted path of the layer whose output is the representation; empty for the input of the last linear
            layer or convolution, the penultimate layer.

    Raises:
        ValueError: there is no layer of that name, or the logits are not the output of a layer.
    """
    network = shared_copy(model)
    make_out_of_place(network)
    modules = dict(network.named_modules())
    if layer and layer not in modules:
        near = did_you_mean(layer, list(modules)) or " Its layers are those of named_modules()"
        raise ValueError(f"the network has no layer {layer!r}.{near}")
    path = layer or remembered(model, x, "penultimate layer", lambda: _last(network, x[:1]))
    kept: list[Any] = []
    if layer:
        modules[path].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    else:
        modules[path].register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))

    def represent(images: Tensor) -> Tensor:
        kept.clear()
        network(images)
        if len(kept) != 1 or not isinstance(kept[0], Tensor) or len(kept[0]) != len(images):
            raise ValueError(
                f"layer {path!r} is not called once with a tensor for each image; name another, layer=PATH"
            )
        return kept[0].flatten(1)

    return represent


def _last(network: nn.Module, image: Tensor) -> str:
    """Path of the layer whose output are the logits."""
    outputs: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs.pop(name, None)
            outputs[name] = output

        return note

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in network.named_modules()
        if isinstance(module, LAST)
    ]
    try:
        with torch.no_grad():
            # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
            logits = network.forward(image)
    finally:
        for handle in handles:
            handle.remove()
    path, made = next(reversed(outputs.items()), ("", None))
    if made is None or not torch.equal(made.flatten(1), logits):
        raise ValueError(
            "the logits are not the output of the network's last linear layer or convolution, so its penultimate layer"
            " is not known; name the layer of the representation, layer=PATH"
        )
    return path
