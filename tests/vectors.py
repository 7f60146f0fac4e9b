"""Reference files as tensors, and the networks they were computed with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).parent / "reference"


def vectors(name: str) -> dict[str, Tensor]:
    """A reference file as tensors."""
    with np.load(REFERENCE / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def tiny_network(
    weights: dict[str, Tensor], prefix: str, activation: Callable[[], nn.Module], stride: int = 2
) -> nn.Module:
    """The two-convolution network of the reference files, in float64."""
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 4, 3, padding=1))
    network.add_module("act1", activation())
    network.add_module("conv2", nn.Conv2d(4, 8, 3, stride=stride, padding=1))
    network.add_module("act2", activation())
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(512, weights[f"{prefix}.fc.bias"].numel()))
    network.double().load_state_dict(
        {key.removeprefix(f"{prefix}."): value for key, value in weights.items() if key.startswith(f"{prefix}.")}
    )
    return network.eval()
