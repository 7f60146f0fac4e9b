"""Counts forward, backward and double-backward passes, the cost of an attack or a training step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
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


_standing_for: ContextVar[tuple[int, int]] = ContextVar("how many images stand for how many", default=(1, 1))


@contextmanager
def standing_for(total: int, some: int) -> Iterator[None]:
    """Inside the block ``some`` images that enter a network stand for ``total``, of which all passes count."""
    many, few = _standing_for.get()
    token = _standing_for.set((many * total, few * some))
    try:
        yield
    finally:
        _standing_for.reset(token)


_once_a_batch: ContextVar[bool] = ContextVar("whether passes are made once for a batch", default=False)


@contextmanager
def once_a_batch() -> Iterator[None]:
    """Inside the block passes are made once for a batch of images, however many these are."""
    token = _once_a_batch.set(True)
    try:
        yield
    finally:
        _once_a_batch.reset(token)


class _Probe(torch.autograd.Function):
    """Identity on the network's input that counts the images passing it forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, passes: Passes) -> Tensor:
        ctx.passes, ctx.each = passes, _standing_for.get()
        passes.forward += _count(x, ctx.each)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.passes.backward += _count(gradient, ctx.each)
        return _BackwardProbe.apply(gradient, ctx.passes, ctx.each), None


def _count(images: Tensor, each: tuple[int, int]) -> int:
    many, few = each
    return len(images) * many // few


class _BackwardProbe(torch.autograd.Function):
    """Identity on a gradient that counts how often the gradient is itself differentiated."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, passes: Passes, each: tuple[int, int]) -> Tensor:
        ctx.passes, ctx.each = passes, each
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ctx.passes.double_backward += _count(gradient, ctx.each)
        return _BackwardProbe.apply(gradient, ctx.passes, ctx.each), None, None


@contextmanager
def counted(*models: nn.Module, weights: bool = False) -> Iterator[Passes]:
    """Count the passes through networks, and through copies made of them, inside the block.

    Args:
        models: counted together.
        weights: whether gradients that only the weights need count too, as in training. They are pulled back to the
            input then, which costs time but changes no number.
    """
    passes = Passes()
    with _counting(models, lambda _: passes, weights=weights):
        yield passes


@dataclass(frozen=True)
class Tally:
    """Passes by kind.

    Attributes:
        once: those that are made once for a batch.
        each: those of the images, by their floating-point type.
    """

    once: Passes
    each: defaultdict[torch.dtype, Passes]


@contextmanager
def tallied(*models: nn.Module) -> Iterator[Tally]:
    """As ``counted``, by kind."""
    tally = Tally(Passes(), defaultdict(Passes))
    with _counting(models, lambda x: tally.once if _once_a_batch.get() else tally.each[x.dtype], weights=False):
        yield tally


@contextmanager
def _counting(models: tuple[nn.Module, ...], of: Callable[[Tensor], Passes], *, weights: bool) -> Iterator[None]:
    def probe(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        if weights and torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()
        return (_Probe.apply(x, of(x)), *inputs[1:])

    with ExitStack() as stack:
        for model in models:
            stack.callback(model.register_forward_pre_hook(probe).remove)
        yield
