"""Convolution and softplus whose second derivatives cost less, for networks whose weights are constants.

To differentiate a gradient by the input, torch also computes what only the derivative by the weights needs: one more
convolution for each layer. And it takes eleven passes over the activations for the second derivative of softplus. Here
the values and the first two derivatives are the same to the bit. Further derivatives are torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import functional as F

from attrobust.networks.function_mode import FunctionMode
from attrobust.networks.windows import pair

aten = torch.ops.aten


class SecondOrder(FunctionMode):
    """While active on this thread, convolutions and softplus that gradients flow through are those of this module."""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run every call, with the changes above."""
        replacement = REPLACEMENTS.get(func)
        if replacement is None or not torch.is_grad_enabled() or transformed():
            return func(*args, **settings)
        found = replacement(*args, **settings)
        return func(*args, **settings) if found is None else found


def transformed() -> bool:
    """Whether torch changes functions as they are called: by ``torch.func``, forward derivatives or autocast."""
    of_functions = torch._C._functorch.peek_interpreter_stack() is not None
    return of_functions or forward_ad._current_level >= 0 or any(map(torch.is_autocast_enabled, ("cpu", "cuda")))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor | None:
    """See ``torch.nn.functional.conv2d``; None where this is torch's to compute."""
    constant = not weight.requires_grad and (bias is None or not bias.requires_grad)
    if not constant or not input.requires_grad or input.is_complex() or input.dim() != 4 or isinstance(padding, str):
        return None
    sizes = tuple(pair(value) for value in (stride, padding, dilation))
    result: Tensor = _Convolution.apply(input, weight, bias, sizes, groups)
    return result


def _softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor | None:
    """See ``torch.nn.functional.softplus``; None where this is torch's to compute."""
    if not input.requires_grad or input.is_complex():
        return None
    result: Tensor = _Softplus.apply(input, beta, threshold)
    return result


REPLACEMENTS: dict[Callable[..., Any], Callable[..., Tensor | None]] = {F.conv2d: _conv2d, F.softplus: _softplus}


class _Convolution(Function):
    """A convolution as a function of its input."""

    generate_vmap_rule = True

    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor | None, sizes: Any, groups: int) -> Tensor:
        result: Tensor = aten.convolution(input, weight, bias, *sizes, False, [0, 0], groups)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        input, weight, _, ctx.sizes, ctx.groups = inputs
        ctx.save_for_backward(input, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        input, weight = ctx.saved_tensors
        return _TransposedConvolution.apply(gradient, input, weight, ctx.sizes, ctx.groups), None, None, None, None


class _TransposedConvolution(Function):
    """The derivative of a convolution by its input, as a function of the gradient, in which it is linear."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, input: Tensor, weight: Tensor, sizes: Any, groups: int) -> Tensor:
        # Of the input only the shape matters.
        arguments = (gradient, input, weight, None, *sizes, False, [0, 0], groups, [True, False, False])
        result: Tensor = aten.convolution_backward(*arguments)[0]
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        _, _, weight, ctx.sizes, ctx.groups = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (weight,) = ctx.saved_tensors
        back = aten.convolution(gradient, weight, None, *ctx.sizes, False, [0, 0], ctx.groups)
        return back, None, None, None, None


class _Softplus(Function):
    """``log(1 + exp(βx)) / β``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, beta: float, threshold: float) -> Tensor:
        result: Tensor = aten.softplus(x, beta, threshold)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        x, ctx.beta, ctx.threshold = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (x,) = ctx.saved_tensors
        return _SoftplusBackward.apply(gradient, x, ctx.beta, ctx.threshold), None, None


class _SoftplusBackward(Function):
    """``g σ(βx)``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
        result: Tensor = aten.softplus_backward(gradient, x, beta, threshold)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        gradient, x, ctx.beta, ctx.threshold = inputs
        ctx.save_for_backward(gradient, x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Any, ...]:
        gradient, x = ctx.saved_tensors
        by_gradient = aten.softplus_backward(outer, x, ctx.beta, ctx.threshold)
        scaled = x * ctx.beta
        linear = None if _vanishes_above(ctx.threshold, x.dtype) else scaled >= ctx.threshold
        if torch.is_grad_enabled():
            by_x = aten.sigmoid_backward(outer * gradient, scaled.sigmoid()) * ctx.beta
            return by_gradient, by_x if linear is None else by_x.masked_fill(linear, 0.0), None, None
        # The same in place: allocating activations takes as long as the arithmetic on them.
        sigmoid = scaled.sigmoid_()
        by_x = outer * gradient
        by_x = aten.sigmoid_backward(by_x, sigmoid).mul_(ctx.beta)
        return by_gradient, by_x if linear is None else by_x.masked_fill_(linear, 0.0), None, None


def _vanishes_above(threshold: float, dtype: torch.dtype) -> bool:
    """Whether ``σ(1 - σ)`` is zero by rounding above a threshold, from which on torch's softplus is linear."""
    return dtype == torch.float32 and threshold >= 20
