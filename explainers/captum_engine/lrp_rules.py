"""Rules of layer-wise relevance propagation: how the relevance of a layer's outputs is shared among its inputs.

All rules have one form. An output is a sum of products, ``z_k = Σ_i a_i w_ik + b_k``, and its relevance goes to the
inputs in proportion to their products, ``R_i = Σ_k a_i w_ik R_k / z_k``; the rules differ in the products that count.
To avoid the pole at z = 0, the divisor is ``z + epsilon``, or ``z - epsilon`` where z < 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.networks.low_curvature import LipschitzBatchNorm


@dataclass(frozen=True)
class Norm:
    """A batch normalisation by running statistics, ``scale (x - mean) + bias`` for every channel.

    Attributes:
        scale, mean: float[C].
        bias: the same; None for 0.
    """

    scale: Tensor
    mean: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, module: nn.BatchNorm1d | nn.BatchNorm2d) -> Norm:
        """What a module computes."""
        assert module.running_mean is not None and module.running_var is not None
        weight = module.gain() if isinstance(module, LipschitzBatchNorm) else module.weight
        return cls.of_statistics(module.running_mean, module.running_var, weight, module.bias, module.eps)

    @classmethod
    def of_statistics(
        cls, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Norm:
        """What ``torch.nn.functional.batch_norm`` computes outside of training."""
        scale = torch.rsqrt(variance + eps)
        return cls(scale if weight is None else scale * weight, mean, bias)


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer.

    Attributes:
        apply: the layer as a function of its input, its weight and its bias.
        weight, bias: the layer's own.
    """

    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, module: nn.Conv2d | nn.Linear) -> Layer:
        """The layer that a module computes."""
        return cls(module._conv_forward if isinstance(module, nn.Conv2d) else F.linear, module.weight, module.bias)

    def then(self, norm: Norm) -> Layer:
        """This layer merged with a batch normalisation."""
        shift = -norm.mean if self.bias is None else self.bias - norm.mean
        bias = shift * norm.scale if norm.bias is None else shift * norm.scale + norm.bias
        return Layer(self.apply, self.weight * norm.scale.view(-1, *(1 for _ in self.weight.shape[1:])), bias)

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution, whose weight has two axes of space."""
        return self.weight.dim() == 4

    def __call__(self, a: Tensor) -> Tensor:
        """The outputs z."""
        return self.apply(a, self.weight, self.bias)

    def by_sign(self, positive_weight: Tensor, negative_weight: Tensor, bias: Tensor | None) -> Callable[..., Tensor]:
        """The layer as a function of its input's positive and negative part, with different weights for each."""

        def outputs(positive: Tensor, negative: Tensor | None = None) -> Tensor:
            z = self.apply(positive, positive_weight, bias)
            return z if negative is None else z + self.apply(negative, negative_weight, None)

        return outputs


def shared(
    function: Callable[..., Tensor], parts: tuple[Tensor, ...], relevance: Tensor, epsilon: float
) -> tuple[Tensor, ...]:
    """Distribute the relevance of a function's outputs to its arguments, in proportion to their contributions.

    Args:
        function: affine in the parts.
        parts: its arguments.
        relevance: of its outputs.
        epsilon: added to the divisor, see the module.

    Returns:
        Relevance of each part, in its shape. The sum is that of ``relevance``, minus the shares of constants and
        epsilon.
    """
    z, pull_back = torch.func.vjp(function, *parts)[:2]
    gradients = pull_back(relevance / torch.where(z >= 0, z + epsilon, z - epsilon))
    return tuple(part * gradient for part, gradient in zip(parts, gradients, strict=True))


def epsilon_rule(layer: Layer, a: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
    """The epsilon rule: all products count (Bach et al. 2015, equation 58)."""
    return shared(layer, (a,), relevance, epsilon)[0]


def plus_rule(layer: Layer, a: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
    """The alpha-1-beta-0 rule: only positive products and a positive bias count (Bach et al. 2015, equation 60)."""
    bias = None if layer.bias is None else layer.bias.clamp(min=0)
    outputs = layer.by_sign(layer.weight.clamp(min=0), layer.weight.clamp(max=0), bias)
    return _sum(shared(outputs, _by_sign(a), relevance, epsilon))


def gamma_rule(layer: Layer, a: Tensor, relevance: Tensor, epsilon: float, gamma: float) -> Tensor:
    """The gamma rule: products with the sign of their output are multiplied by ``1 + gamma``, and so is the bias.

    For positive inputs and outputs this is the rule of Montavon et al. 2019; for others it is zennit's extension. The
    relevance of an output that is exactly 0 is dropped.
    """

    def raised(tensor: Tensor | None, sign: int) -> Any:
        return None if tensor is None else tensor + gamma * sign * (sign * tensor).clamp(min=0)

    z = layer(a)
    (up, down), (bias_up, bias_down) = ([raised(t, sign) for sign in (1, -1)] for t in (layer.weight, layer.bias))
    rising, falling = layer.by_sign(up, down, bias_up), layer.by_sign(down, up, bias_down)

    def outputs(*parts: Tensor) -> Tensor:
        return torch.where(z > 0, rising(*parts), falling(*parts))

    return _sum(shared(outputs, _by_sign(a), relevance.masked_fill(z == 0, 0.0), epsilon))


def box_rule(layer: Layer, a: Tensor, low: Tensor, high: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
    """The z^B rule for inputs in a box: products are measured from their smallest value in it (arXiv 1512.02479).

    ``R_i = Σ_k (a_i w_ik - l_i w_ik⁺ - h_i w_ik⁻) R_k / z_k`` with z the sum of these; the bias is not used.

    Args:
        layer, a, relevance, epsilon: as for the other rules.
        low, high: ends l and h of the inputs' range, of the shape of ``a``.
    """
    positive, negative = layer.weight.clamp(min=0), layer.weight.clamp(max=0)

    def outputs(a: Tensor, low: Tensor, high: Tensor) -> Tensor:
        z = layer.apply(a, layer.weight, None)
        return z - layer.apply(low, positive, None) - layer.apply(high, negative, None)

    return _sum(shared(outputs, (a, low, high), relevance, epsilon))


def _by_sign(a: Tensor) -> tuple[Tensor, ...]:
    """Positive and negative part of ``a``, or ``a`` alone where no value is negative; the derivative at 0 is 1."""
    if not (a < 0).any():
        return (a,)
    positive = a.clamp(min=0)
    return positive, a - positive


def _sum(parts: tuple[Tensor, ...]) -> Tensor:
    return sum(parts[1:], start=parts[0])
