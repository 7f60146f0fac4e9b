"""Layers that relevance is propagated through, as modules and as functions: ``F.linear(x, weight)`` for ``nn.Linear``.

Networks of timm call functions where they derive a class of their own from one of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from attrobust.explainers.captum_engine.lrp_rules import Layer, Norm
from attrobust.networks.tracing import Pass

WEIGHTED = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def layer_of(passed: Pass, node: fx.Node) -> Layer | None:
    """The convolution or linear layer that a node computes; None where it computes something else."""
    module = passed.module(node)
    if isinstance(module, WEIGHTED):
        return Layer.of(module)
    found = _of_function(passed, node)
    return found if isinstance(found, Layer) else None


def norm_of(passed: Pass, node: fx.Node) -> Norm | None:
    """The batch normalisation by running statistics that a node computes; None where it computes something else."""
    module = passed.module(node)
    if isinstance(module, NORMS):
        return Norm.of(module)
    found = _of_function(passed, node)
    return found if isinstance(found, Norm) else None


def _of_function(passed: Pass, node: fx.Node) -> Layer | Norm | None:
    """What a call of one of ``FUNCTIONS`` computes with its arguments."""
    make = FUNCTIONS.get(node.target)
    if make is None:
        return None
    args, settings = fx.node.map_arg((node.args, node.kwargs), passed.values.__getitem__)
    return make(*args, **settings)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Layer:  # noqa: ARG001
    return Layer(F.linear, weight, bias)


def _convolution(
    input: Tensor,  # noqa: ARG001
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Layer:
    def apply(a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.conv2d(a, weight, bias, stride, padding, dilation, groups)

    return Layer(apply, weight, bias)


def _norm(
    input: Tensor,  # noqa: ARG001
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> Norm | None:
    if training or running_mean is None or running_var is None:
        return None
    return Norm.of_statistics(running_mean, running_var, weight, bias, eps)


FUNCTIONS: dict[Any, Callable[..., Layer | Norm | None]] = {
    F.linear: _linear,
    F.conv2d: _convolution,
    F.batch_norm: _norm,
}
"""Functions, and what makes a layer of their arguments."""
