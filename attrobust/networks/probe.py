"""Checks that a rewritten network still computes what the original does, on fixed noise.

A copy without in-place operations, or a traced graph, is another function where a tensor is changed in place and then
used under another name, and where hooks keep results. Whether the outputs differ depends on the images. They do on
noise of both signs; as it is always the same, the result of the check does not depend on the images that are explained.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def probe_for(model: nn.Module, x: Tensor) -> Tensor:
    """Two images of fixed noise around grey, 2×C×H×W, in the dtype and on the device of ``x``.

    Raises:
        ValueError: a batch normalisation is in training mode, whose running statistics the probe would change.
    """
    for module in model.modules():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"a {type(module).__name__} of the model is in training mode; call model.eval() first")
    noise = torch.randn((2, *x.shape[1:]), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (0.5 + noise).to(x)


def check_same(model: nn.Module, other: Callable[[Tensor], Tensor], probe: Tensor) -> None:
    """Raise ValueError unless ``other`` gives for the probe as a batch what the model gives image by image.

    Args:
        model: the network; ``forward`` is called without its hooks, so that its passes are not counted.
        other: the rewritten network.
        probe: see ``probe_for``.
    """
    with torch.no_grad():
        original = torch.cat([model.forward(image[None]) for image in probe])
        rewritten = other(probe)
    # Rounding may depend on the size of the batch, to 1e-3 with the TF32 arithmetic of GPUs.
    if not torch.allclose(rewritten, original, rtol=0, atol=1e-2 * float(original.abs().max()), equal_nan=True):
        raise ValueError(
            f"{type(model).__name__} cannot be rewritten: it mixes the images of a batch, keeps results in hooks, or "
            "changes a tensor in place and then uses it under another name; compute out of place, image by image"
        )
