"""Counts forward, backward and double-backward passes, the cost of an attack or a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Passes:
    """Numbers of images sent through a network.

    Attributes:
        forward: evaluations of the network.
        backward: gradients pulled back to the input.
        double_backward: gradients of such a gradient, of whatever order.
    """

    forward: int = 0
    backward: int = 0
    double_backward: int = 0


class _Probe(torch.autograd.Function):
    """Identity on the network's input that counts the images passing it forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, passes: Passes) -> Tensor:
        ctx.passes = passes
        passes.forward += len(x)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.passes.backward += len(gradient)
        return _BackwardProbe.apply(gradient, ctx.passes), None


class _BackwardProbe(torch.autograd.Function):
    """Identity on a gradient that counts how often the gradient is itself differentiated."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, passes: Passes) -> Tensor:
        ctx.passes = passes
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.passes.double_backward += len(gradient)
        return _BackwardProbe.apply(gradient, ctx.passes), None


@contextmanager
def counted(*models: nn.Module, weights: bool = False) -> Iterator[Passes]:
    """Count the passes through networks, and through copies made of them, inside the block.

    Args:
        models: counted together.
        weights: whether gradients that only the weights need count too, as in training. They are pulled back to the
            input then, which costs time but changes no number.
    """
    passes = Passes()

    def probe(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        if weights and torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()
        return (_Probe.apply(x, passes), *inputs[1:])

    with ExitStack() as stack:
        for model in models:
            stack.callback(model.register_forward_pre_hook(probe).remove)
        yield passes
