"""Reference files as tensors, and the networks they were computed with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

REFERENCE = Path(os.environ.get("ATTROBUST_REFERENCE", Path(__file__).parents[1] / "reference"))
"""Other vectors of the same kind are tried by naming their folder."""


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-6) -> None:
    """Assert that the largest difference is within a share of the largest entry."""
    scale = wanted.abs().max().clamp_min(1e-300)
    assert (found.detach() - wanted).abs().max() <= tolerance * scale


def close_gradients(network: nn.Module, data: dict[str, Tensor], prefix: str) -> None:
    """Assert that the gradients of all parameters are the stored ones: entries where they are stored, lengths, sums."""
    checked = 0
    for name, parameter in network.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if f"{prefix}.{name}" in data:
            close(gradient, data[f"{prefix}.{name}"])
            checked += 1
        if f"{prefix}_l2.{name}" in data:
            close(gradient.norm(), data[f"{prefix}_l2.{name}"])
            checked += 1
        if f"{prefix}_sum.{name}" in data:
            error = (gradient.sum() - data[f"{prefix}_sum.{name}"]).abs()
            assert error <= 1e-6 * gradient.abs().sum()
            checked += 1
    assert checked


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
