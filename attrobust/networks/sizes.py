"""Input shapes of a network's layers, for methods that need them before the first image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrobust.networks.smoothed import shared_copy


def set_image_shape(network: nn.Module, channels: int, size: int) -> None:
    """Set a network's attribute ``image_shape``; it is copied with the network but is not in its state dict.

    Args:
        network: any.
        channels, size: of an image, H = W = size.
    """
    network.image_shape = (channels, size, size)  # type: ignore[assignment]


def input_shapes(network: nn.Module, kind: type[nn.Module]) -> dict[str, tuple[int, ...]]:
    """Input shape, without the batch axis, of every module of a kind that is called in a forward pass.

    Args:
        network: built by a ``ModelFamily``, or with an attribute ``image_shape`` of ``(C, H, W)``; left as it is.
        kind: of module.

    Returns:
        Names of the modules, in the order of their (last) calls, and shapes.

    Raises:
        ValueError: the network has no ``image_shape``.
    """
    shape = getattr(network, "image_shape", None)
    if shape is None:
        raise ValueError(
            f"{type(network).__name__} does not say what images it is for: set its attribute image_shape = (C, H, W)"
        )
    copy = shared_copy(network).eval()
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> None:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            shapes[name] = tuple(inputs[0].shape[1:])

        copy.get_submodule(name).register_forward_pre_hook(hook)

    for name, module in copy.named_modules():
        if isinstance(module, kind):
            note(name)
    parameter = next(copy.parameters())
    with torch.no_grad():
        # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
        copy.forward(torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device))
    return shapes
