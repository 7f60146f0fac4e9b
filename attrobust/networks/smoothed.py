"""Network surgery: the normalisation layer, smoothed models that share all weights, and replacing modules.

A smoothed model has softplus and log-sum-exp pooling where the network has piecewise linear activations and
max-pooling, so that it has second derivatives. Its temperature, ``1 / beta``, says how far it is from the network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from attrobust.networks.batch_norm import SpelledOutBatchNorm
from attrobust.networks.copying import independent_copy
from attrobust.networks.findings import has_temperature
from attrobust.networks.kinks import RAMPS, SmoothActivation
from attrobust.networks.low_curvature import CentredSoftplus, LipschitzBatchNorm
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.smoothing import Blur, Median


class Normalize(nn.Module):
    """``(x - mean) / std`` per channel, a model's first layer; mean and std are not in the state dict.

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
    """The ``std`` of a model's ``Normalize`` layer, 1×C×1×1 in pixels, or 1.0 for a model without one.

    By the chain rule, a gradient in normalised units is the pixel gradient times this; papers that take gradients of
    the normalised input state their weights in those units.
    """
    layer = _normalization(model)
    return 1.0 if layer is None else layer.std


def input_mean(model: nn.Module) -> Tensor | float:
    """The ``mean`` of a model's ``Normalize`` layer, 1×C×1×1 in pixels, or 0.0 for a model without one.

    Papers that mask or erase the normalised input put this colour there, not black.
    """
    layer = _normalization(model)
    return 0.0 if layer is None else layer.mean


def _normalization(model: nn.Module) -> Normalize | None:
    return next((module for module in model.modules() if isinstance(module, Normalize)), None)


PIECEWISE_LINEAR = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Threshold,
)
SMOOTH = (
    *(nn.Softplus, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.ELU, nn.CELU, nn.SELU, nn.Softsign),
    *(CentredSoftplus, SmoothActivation),
)


OPERATIONS = (
    Normalize,
    CentredSoftplus,
    LipschitzBatchNorm,
    SpelledOutBatchNorm,
    Blur,
    Median,
    LogSumExpPool,
    SmoothActivation,
)
"""Layers of this package that explainers treat as single operations, like layers of torch."""


def computes_as(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of torch's classes, or of one derived from it whose forward pass is the same.

    The class of an author may compute something else, and the functions that it calls are seen as such.
    """
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def is_smooth(model: nn.Module) -> bool:
    """Whether no activation module of the model is piecewise linear; see ``spelled`` for those written as functions."""
    return not any(computes_as(module, PIECEWISE_LINEAR) for module in model.modules())


def activations(model: nn.Module) -> list[nn.Module]:
    """The activation modules of a model, piecewise linear and smooth."""
    return [module for module in model.modules() if isinstance(module, (*PIECEWISE_LINEAR, *SMOOTH))]


def softplus_model(model: nn.Module, beta: float) -> nn.Module:
    """A smoothed model: a copy of ``model`` with softplus for every ReLU, sharing all parameters and buffers.

    The model itself is unchanged, and training one trains the other.

    Args:
        model: a network whose activations are ``nn.ReLU`` modules.
        beta: one over the temperature, above 0; larger is closer to ReLU.

    Raises:
        ValueError: beta is not positive, or the model has no ``nn.ReLU`` module, or another piecewise linear
            activation besides it.
    """
    if not beta > 0:
        raise ValueError(f"softplus beta must be above 0, not {beta:g}")
    piecewise_linear = [module for module in model.modules() if isinstance(module, PIECEWISE_LINEAR)]
    if not piecewise_linear or not all(computes_as(module, (nn.ReLU,)) for module in piecewise_linear):
        names = ", ".join(sorted({type(module).__name__ for module in piecewise_linear})) or "none"
        raise ValueError(f"a softplus model needs nn.ReLU activations; those of the model that are not smooth: {names}")
    smoothed = shared_copy(model)
    replace_modules(smoothed, lambda module: _softplus(module, beta) if isinstance(module, nn.ReLU) else None)
    return smoothed


def smooth_activation_model(model: nn.Module, beta: float) -> nn.Module:
    """As ``softplus_model``, for networks with any piecewise linear activations; shares all tensors.

    Args:
        model: any network; one without such activations is returned as it is.
        beta: one over the temperature, above 0.

    Raises:
        ValueError: an activation is discontinuous, or a class of the network's author.
    """
    if is_smooth(model):
        return model
    smoothed = shared_copy(model)
    replace_modules(
        smoothed, lambda module: smooth_activation(module, beta) if computes_as(module, PIECEWISE_LINEAR) else None
    )
    return smoothed


def smooth_activation(module: nn.Module, beta: float) -> nn.Module:
    """The smooth counterpart of a piecewise linear activation.

    Args:
        module: of a type in ``PIECEWISE_LINEAR``.
        beta: one over the temperature, above 0.

    Raises:
        ValueError: it is discontinuous, or a class of the network's author.
    """
    if isinstance(module, nn.ReLU) or is_relu(module):
        return _softplus(module, beta)
    if type(module) not in RAMPS:
        raise ValueError(
            f"an activation {type(module).__name__} has no smooth counterpart; attack with differentiate=own"
        )
    return SmoothActivation(module, beta)


def smooth_pooling_model(model: nn.Module, inverse_temperature: float) -> nn.Module:
    """A smoothed model: a copy of ``model`` with log-sum-exp pooling for every ``nn.MaxPool2d``; shares all tensors.

    Args:
        model: any network; one without such a pooling is returned as it is.
        inverse_temperature: one over the temperature; see ``attrobust.networks.pooling.LogSumExpPool``.
    """
    if not any(_smoothable(module) for module in model.modules()):
        return model
    smoothed = shared_copy(model)
    replace_modules(
        smoothed, lambda module: LogSumExpPool(module, inverse_temperature) if _smoothable(module) else None
    )
    return smoothed


def _smoothable(module: nn.Module) -> TypeGuard[nn.MaxPool2d]:
    return computes_as(module, (nn.MaxPool2d,)) and not module.return_indices


def is_relu(module: nn.Module) -> TypeGuard[nn.Threshold]:
    """Whether a module is a ReLU that is written as a threshold."""
    return (
        isinstance(module, nn.Threshold)
        and computes_as(module, (nn.Threshold,))
        and module.threshold == module.value == 0
    )


def _softplus(relu: nn.ReLU | nn.Threshold, beta: float) -> nn.Module:
    softplus = SoftplusInPlace(beta=beta) if relu.inplace else nn.Softplus(beta=beta)
    # Networks may call a function with the settings of the module.
    vars(softplus)["inplace"] = relu.inplace
    return softplus


@has_temperature("beta")
class SoftplusInPlace(nn.Softplus):
    """Softplus that overwrites its input, as an in-place ReLU does; the network may use the changed tensor again."""

    def forward(self, x: Tensor) -> Tensor:
        """``log(1 + exp(beta x)) / beta``, written over ``x``."""
        # A copy, since the derivative needs the value before it is overwritten.
        return x.copy_(super().forward(x.clone()))


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of ``model`` and its submodules that shares every tensor with it and calls the same hooks.

    Raises:
        ValueError: the model has attributes that cannot be copied.
    """
    shared: dict[int, object] = {}
    for module in model.modules():
        for value in (*module.parameters(recurse=False), *module.buffers(recurse=False), *vars(module).values()):
            if isinstance(value, Tensor):
                shared[id(value)] = value
        # The hook tables are copied but not the hooks: a copied hook would act on a copy of its owner.
        for name, table in vars(module).items():
            if name.endswith("_hooks") and isinstance(table, dict) and table:
                shared[id(table)] = copy.copy(table)
    return independent_copy(model, shared)


def forward_hooks(model: nn.Module) -> dict[str, Any]:
    """Copies of the tables of the hooks that are called before and after a network, by attribute."""
    return {name: copy.copy(hooks) for name, hooks in vars(model).items() if name.startswith("_forward_")}


def make_out_of_place(model: nn.Module) -> None:
    """Turn off, in place, in-place computation of a network's activations; call it on a copy."""

    def softplus(module: nn.Module) -> nn.Module | None:
        return nn.Softplus(module.beta, module.threshold) if isinstance(module, SoftplusInPlace) else None

    replace_modules(model, softplus)
    for module in model.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            vars(module)["inplace"] = False


def replace_modules(model: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace, in place, every module below ``model`` for which ``make`` returns another, under all of its names.

    The replacement gets the module's mode and its hooks; the hooks are left where the replacement contains the module.
    """
    for parent in list(model.modules()):
        # Not named_children, which lists a module only under its first name.
        for name, child in list(parent._modules.items()):
            other = None if child is None else make(child)
            if child is None or other is None:
                continue
            if not any(module is child for module in other.modules()):
                vars(other).update(
                    {key: copy.copy(table) for key, table in vars(child).items() if key.endswith("_hooks")}
                )
            other.train(child.training)
            setattr(parent, name, other)


def spell_out(model: nn.Module) -> nn.Module:
    """A copy whose batch normalisations have third derivatives in training mode; shares all tensors."""

    if not any(type(module) is nn.BatchNorm2d for module in model.modules()):
        return model
    copy = shared_copy(model)
    # Not subclasses, which may compute something else.
    replace_modules(copy, lambda module: SpelledOutBatchNorm(module) if type(module) is nn.BatchNorm2d else None)
    return copy
