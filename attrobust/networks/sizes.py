"""How large images are at every layer, for what has to know before the first image comes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrobust.networks.smoothed import shared_copy


def set_image_shape(network: nn.Module, channels: int, size: int) -> None:
    """Write on a network what images it is built for; copies keep it, state dicts do not have it.

    Args:
        network: any.
        channels, size: of an image, H = W = size.
    """
    network.image_shape = (channels, size, size)  # type: ignore[assignment]


def input_shapes(network: nn.Module, kind: type[nn.Module]) -> dict[str, tuple[int, ...]]:
    """Shape, without that of the batch, of what every module of a kind is given when the network sees an image.

    Args:
        network: built by a ``ModelFamily``, or with an attribute ``image_shape`` of ``(C, H, W)``; left as it is.
        kind: of module.

    Returns:
        Paths of the modules that are called, in order of their (last) calls, and shapes.

    Raises:
        ValueError: the network does not say what images it is for.
    """
    shape = getattr(network, "image_shape", None)
    if shape is None:
        raise ValueError(
            f"{type(network).__name__} does not say what images it is for: set its attribute image_shape = (C, H, W)"
        )
    copy = shared_copy(network).eval()
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> None:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[name] = tuple(inputs[0].shape[1:])

        copy.get_submodule(name).register_forward_pre_hook(hook)

    for name, module in copy.named_modules():
        if isinstance(module, kind):
            note(name)
    parameter = next(copy.parameters())
    with torch.no_grad():
        # ``forward`` and not a call: whoever counts the passes of the network must not count this one.
        copy.forward(torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device))
    return found
