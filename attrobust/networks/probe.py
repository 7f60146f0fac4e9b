"""Checks that a rewritten network still computes what the original does, on a real image and on fixed noise.

A copy without in-place operations, or a traced graph, is another function where a tensor is changed in place and then
used under another name, and where hooks keep results. Whether the outputs differ depends on the images: those that a
network may be given have pixels in [0, 1], and so has the probe. On pixels that no image has, a trained network may
amplify rounding until it looks like a difference.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrobust.maps.seeds import derive_seed
from attrobust.networks.copying import independent_copy
from attrobust.networks.findings import remembered
from attrobust.networks.known import is_known

NEAR = 1e-2
"""Difference of outputs, as a share of the largest, that may be rounding: TF32 arithmetic of GPUs gives up to 1e-3."""
EXACT = 1e-6
"""The same in float64."""


def probe_for(model: nn.Module, x: Tensor) -> Tensor:
    """The first image and one of fixed noise, 2×C×H×W in [0, 1], in the dtype and on the device of ``x``.

    Args:
        model: the network that it is for.
        x: images in [0, 1], B×C×H×W.

    Raises:
        ValueError: a batch normalisation is in training mode, whose running statistics the probe would change.
    """
    for module in model.modules():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"a {type(module).__name__} of the model is in training mode; call model.eval() first")
    generator = torch.Generator().manual_seed(derive_seed("probe of a rewritten network"))
    noise = torch.rand(x.shape[1:], generator=generator, dtype=torch.float64)
    return torch.stack([x.detach()[0], noise.to(x)])


def check_same(model: nn.Module, other: nn.Module, probe: Tensor, outputs: Tensor | None = None) -> None:
    """Raise ValueError unless ``other`` gives for the probe as a batch what the model gives image by image.

    Where that is in doubt it is decided in float64, in which rounding is told from mixing.

    Args:
        model: the network; ``forward`` is called without its hooks, so that its passes are not counted.
        other: the rewritten network, called alike.
        probe: see ``probe_for``.
        outputs: of ``other`` for the probe, where they are known.
    """
    with torch.no_grad():
        rewritten = other.forward(probe) if outputs is None else outputs
        if _difference(model, rewritten, probe) <= NEAR:
            return
        if probe.device.type != "mps":
            precise, double = (independent_copy(network).double() for network in (model, other))
            if _difference(precise, double.forward(probe.double()), probe.double()) <= EXACT:
                return
    raise ValueError(
        f"{type(model).__name__} cannot be rewritten: it mixes the images of a batch, keeps results in hooks, or "
        "changes a tensor in place and then uses it under another name; compute out of place, image by image"
    )


def _difference(model: nn.Module, rewritten: Tensor, probe: Tensor) -> float:
    """The largest difference of outputs as a share of the largest output; infinite where only one is finite."""
    original = torch.cat([model.forward(image[None]) for image in probe])
    if original.shape != rewritten.shape:
        return float("inf")
    same = (original == rewritten) | (original.isnan() & rewritten.isnan())
    differences = torch.where(same, 0.0, (original - rewritten).abs())
    largest = float(differences.nan_to_num(nan=torch.inf).max())
    return largest and largest / max(float(original.nan_to_num().abs().max()), 1e-300)


def check_same_once(model: nn.Module, other: nn.Module, x: Tensor, how: str) -> None:
    """As ``check_same`` on a probe made of ``x``, and once for a state of the model where ``findings.steady`` says so.

    Networks of which it is known are not tried, see ``known``.

    Args:
        model: the network.
        other: a rewritten copy of it.
        x: images, B×C×H×W.
        how: names the way in which copies like ``other`` are made.

    Raises:
        ValueError: they compute different logits.
    """

    def compare() -> str:
        check_same(model, other, probe_for(model, x))
        return "the same"

    if not is_known(model):
        remembered(model, x, f"outputs {how}", compare)
