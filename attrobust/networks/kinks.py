"""Smooth counterparts of piecewise linear activations, for smoothed models.

A kink is a point where a piecewise linear function has no derivative, such as 0 for ReLU. Between kinks the second
derivative is zero, so gradients of gradients are zero too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.networks.findings import has_temperature

Ramp = Callable[[Tensor], Tensor]
"""``max(x, 0)``, or softplus in its place."""


@has_temperature("beta")
class SmoothActivation(nn.Module):
    """An activation written as a sum of ramps, each of which is a softplus: ``log(1 + exp(beta x)) / beta``.

    Args:
        piecewise_linear: the piecewise linear activation, of a type in ``RAMPS``; its parameters are shared.
        beta: one over the temperature, above 0.
    """

    def __init__(self, piecewise_linear: nn.Module, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.inplace = bool(getattr(piecewise_linear, "inplace", False))
        self.piecewise_linear = (piecewise_linear,)
        """In a tuple, so that it is not a submodule and is not found among the network's activations."""

    def __getattr__(self, name: str) -> Any:
        """A setting or weight of the activation that it stands for: networks may call a function with it."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or "piecewise_linear" not in vars(self):
                raise
            return getattr(self.piecewise_linear[0], name)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        (piecewise_linear,) = self.piecewise_linear
        y = RAMPS[type(piecewise_linear)](
            piecewise_linear, x.clone() if self.inplace else x, lambda t: F.softplus(t, beta=self.beta)
        )
        return x.copy_(y) if self.inplace else y


def _hardtanh(module: nn.Module, x: Tensor, ramp: Ramp) -> Tensor:
    low, high = float(module.min_val), float(module.max_val)  # type: ignore[arg-type]
    return low + ramp(x - low) - ramp(x - high)


def _leaky(slope: Tensor | float, x: Tensor, ramp: Ramp) -> Tensor:
    return slope * x + (1 - slope) * ramp(x)


def _prelu(module: nn.Module, x: Tensor, ramp: Ramp) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return _leaky(module.weight.view(1, -1, *(1,) * (x.dim() - 2)) if x.dim() > 1 else module.weight, x, ramp)


def _hardsigmoid(x: Tensor, ramp: Ramp) -> Tensor:
    return (ramp(x + 3) - ramp(x - 3)) / 6


RAMPS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.ReLU6: lambda _, x, ramp: ramp(x) - ramp(x - 6),
    nn.Hardtanh: _hardtanh,
    nn.LeakyReLU: lambda module, x, ramp: _leaky(module.negative_slope, x, ramp),
    # In evaluation mode the slope is the mean of the interval it is drawn from in training.
    nn.RReLU: lambda module, x, ramp: _leaky((module.lower + module.upper) / 2, x, ramp),
    nn.PReLU: _prelu,
    nn.Hardsigmoid: lambda _, x, ramp: _hardsigmoid(x, ramp),
    nn.Hardswish: lambda _, x, ramp: x * _hardsigmoid(x, ramp),
}
"""Each activation as a sum of ramps: a function of the module, the input and the ramp."""
