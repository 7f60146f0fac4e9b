"""Networks as attackers and methods see them: normalisation inside the model, activations as modules, smooth views."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """``(x - mean) / std`` per channel, as a model's first layer; its constants are not part of the state dict.

    Args:
        mean, std: one number per channel, in pixel units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean {list(mean)} and std {list(std)} must be as long as each other, and std positive")
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W pixels in [0, 1] to normalised units."""
        return (x - self.mean) / self.std


def input_scale(model: nn.Module) -> Tensor | float:
    """What one normalised unit is in pixels, 1×C×1×1, or 1.0 for a model without a ``Normalize`` layer.

    By the chain rule, a gradient in normalised units is the pixel gradient times this; papers that take gradients of
    the normalised input state their weights in those units.
    """
    layer = _normalization(model)
    return 1.0 if layer is None else layer.std


def input_mean(model: nn.Module) -> Tensor | float:
    """The colour that is zero in normalised units, 1×C×1×1 in pixels, or 0.0 for a model without a ``Normalize`` layer.

    Papers that mask or erase the normalised input put this colour there, not black.
    """
    layer = _normalization(model)
    return 0.0 if layer is None else layer.mean


def _normalization(model: nn.Module) -> Normalize | None:
    return next((module for module in model.modules() if isinstance(module, Normalize)), None)


KINKED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Threshold)
SMOOTH = (nn.Softplus, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.ELU, nn.CELU, nn.SELU, nn.Softsign)


def is_smooth(model: nn.Module) -> bool:
    """Whether no activation module of the model is piecewise linear, so that its input Hessian is not zero.

    Raises:
        ValueError: the model has no activation modules at all; functional activations cannot be seen or replaced.
    """
    kinds = [module for module in model.modules() if isinstance(module, (*KINKED, *SMOOTH))]
    if not kinds:
        raise ValueError("the model has no activation modules; write its activations as nn.ReLU modules")
    return not any(isinstance(module, KINKED) for module in kinds)


def softplus_view(model: nn.Module, beta: float) -> nn.Module:
    """A copy of the structure of ``model`` with every ReLU replaced by softplus, sharing all parameters and buffers.

    The model itself is untouched, and training one trains the other.

    Args:
        model: a network whose activations are ``nn.ReLU`` modules.
        beta: sharpness, above 0; larger is closer to ReLU.

    Raises:
        ValueError: beta is not positive, or the model has no ``nn.ReLU`` module, or a kinked activation besides it.
    """
    if not beta > 0:
        raise ValueError(f"softplus beta must be above 0, not {beta:g}")
    kinked = [module for module in model.modules() if isinstance(module, KINKED)]
    if not kinked or any(not isinstance(module, nn.ReLU) for module in kinked):
        names = ", ".join(sorted({type(module).__name__ for module in kinked})) or "none"
        raise ValueError(f"a softplus view needs nn.ReLU activations; those of the model that are not smooth: {names}")
    return replace_relu(shared_copy(model), lambda: nn.Softplus(beta=beta))


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of the structure of ``model`` that shares every tensor with it and calls the same hooks."""
    shared: dict[int, object] = {}
    for module in model.modules():
        for value in (*module.parameters(recurse=False), *module.buffers(recurse=False), *vars(module).values()):
            if isinstance(value, Tensor):
                shared[id(value)] = value
        # A copied hook would act on a copy of its owner: only the tables are new.
        for name, table in vars(module).items():
            if name.endswith("_hooks") and isinstance(table, dict):
                shared[id(table)] = copy.copy(table)
    return copy.deepcopy(model, shared)


def replace_relu(model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """Replace, in place, every ``nn.ReLU`` below ``model`` by a module of its own; returns ``model``."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, make())
    return model
