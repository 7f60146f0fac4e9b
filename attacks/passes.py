"""Counting what an attack costs: images sent forward, backward and backward a second time through the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Passes:
    """Numbers of images that went through the network.

    Attributes:
        forward: evaluations of the network.
        backward: gradients pulled back to the input.
        double_backward: gradients of such a gradient.
    """

    forward: int = 0
    backward: int = 0
    double_backward: int = 0


class _Probe(torch.autograd.Function):
    """Identity on the network's input that tells a counter when it is crossed."""

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
    """Identity on a gradient; crossed backwards exactly once for every gradient taken of it."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, passes: Passes) -> Tensor:
        ctx.passes = passes
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.passes.double_backward += len(gradient)
        return gradient, None


@contextmanager
def counted(model: nn.Module) -> Iterator[Passes]:
    """Count the passes through ``model``, and through copies made of it, inside the block."""
    passes = Passes()

    def probe(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (_Probe.apply(inputs[0], passes), *inputs[1:])

    handle = model.register_forward_pre_hook(probe)
    try:
        yield passes
    finally:
        handle.remove()
