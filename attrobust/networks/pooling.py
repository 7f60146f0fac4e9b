"""Log-sum-exp pooling, the smooth counterpart of max-pooling in smoothed models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from attrobust.networks.findings import has_temperature
from attrobust.networks.second_order import transformed
from attrobust.networks.windows import pair


@has_temperature("inverse_temperature")
class LogSumExpPool(nn.Module):
    """``log(Σ exp(s x)) / s`` over the windows of a max-pooling, which is the limit for large s.

    The derivative of a maximum jumps where its two largest values are equal; its second derivative is zero elsewhere
    and does not show the jump. For windows of n values the result exceeds the maximum by at most ``log(n) / s``.

    Args:
        pool: the max-pooling whose windows are used.
        inverse_temperature: s, one over the temperature, above 0.
    """

    def __init__(self, pool: nn.MaxPool2d, inverse_temperature: float) -> None:
        super().__init__()
        if not inverse_temperature > 0:
            raise ValueError(
                f"the inverse temperature of a smooth pooling must be above 0, not {inverse_temperature:g}"
            )
        if pool.return_indices:
            raise ValueError("a max-pooling that returns indices has no smooth counterpart")
        self.inverse_temperature = inverse_temperature
        # Networks may call a function with the settings of the module.
        self.kernel_size, self.return_indices = pool.kernel_size, False
        self.ceil_mode = pool.ceil_mode
        self.kernel, self.padding, self.dilation = (pair(x) for x in (pool.kernel_size, pool.padding, pool.dilation))
        self.stride = pair(pool.stride)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the size that the max-pooling gives."""
        plans = [self._plan(x.shape[axis - 2], axis) for axis in (0, 1)]
        if any(before or after for before, after, _ in plans):
            # Not minus infinity: second derivatives would multiply it by 0, which is NaN.
            lowest = torch.finfo(x.dtype).min / (4 * max(1.0, self.inverse_temperature))
            x = F.pad(x, [*plans[1][:2], *plans[0][:2]], value=lowest)
        rows, columns = ([self._places(axis, i, plans[axis][2]) for i in range(self.kernel[axis])] for axis in (0, 1))
        apart = all(self.stride[axis] >= self._extent(axis) for axis in (0, 1))
        windows = Windows(
            places=tuple((..., row, column) for row in rows for column in columns),
            apart=apart,
            tiling=apart and all(x.shape[axis - 2] == plans[axis][2] * self.kernel[axis] for axis in (0, 1)),
        )
        if transformed():
            values = windows.gather(x)
            largest = values.detach().amax(dim=0)
            scaled = self.inverse_temperature * (values - largest)
            return largest + scaled.exp().sum(dim=0).log() / self.inverse_temperature
        pooled, _ = _Pool.apply(x, windows, self.inverse_temperature)
        return pooled  # type: ignore[no-any-return]

    def _places(self, axis: int, offset: int, count: int) -> slice:
        """The slice of an axis with the value at ``offset`` of each of ``count`` windows."""
        start = offset * self.dilation[axis]
        return slice(start, start + (count - 1) * self.stride[axis] + 1, self.stride[axis])

    def _extent(self, axis: int) -> int:
        """How many values an axis of a window spans."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def _plan(self, size: int, axis: int) -> tuple[int, int, int]:
        """Padding before and after an axis, the excess of ``ceil_mode`` included, and the number of windows."""
        pad, stride, extent = self.padding[axis], self.stride[axis], self._extent(axis)
        room = size + 2 * pad - extent
        steps = room // stride
        if self.ceil_mode and room % stride and (steps + 1) * stride < size + pad:
            steps += 1
        return pad, max(pad, steps * stride + extent - size - pad), steps + 1


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of a pooling on images that are padded already.

    One strided slice for each offset in a window is several times faster than gathering the windows.

    Attributes:
        places: for each of the K offsets in a window, the values of all windows at that offset, as an index.
        apart: whether no two windows share a value.
        tiling: whether moreover every value is in a window.
    """

    places: tuple[tuple[Any, ...], ...]
    apart: bool
    tiling: bool

    def gather(self, x: Tensor) -> Tensor:
        """The values of all windows, K×B×C×h×w."""
        return torch.stack([x[place] for place in self.places])

    def scatter(self, values: Tensor, like: Tensor) -> Tensor:
        """The transpose of ``gather``: values added up where they are from, B×C×H×W as ``like``."""
        sums = values.new_empty(like.shape) if self.tiling else values.new_zeros(like.shape)
        for place, value in zip(self.places, values, strict=True):
            if self.apart:
                sums[place] = value
            else:
                sums[place] += value
        return sums


class _Pool(Function):
    """``log(Σ exp(s v)) / s`` over the values v of each window, and their shares ``p = softmax(s v)``, K×B×C×h×w."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, windows: Windows, s: float) -> tuple[Tensor, Tensor]:
        values = windows.gather(x)
        largest = values.amax(dim=0)
        shares = values.sub_(largest).mul_(s).exp_()
        total = shares.sum(dim=0)
        shares.div_(total)
        return total.log_().div_(s).add_(largest), shares

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.windows, ctx.s = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Any, ...]:
        if gradient is None:
            return None, None, None
        return _PoolBackward.apply(gradient, *ctx.saved_tensors, ctx.windows, ctx.s), None, None


class _PoolBackward(Function):
    """Every value's share of the gradient g of its window, ``Σ p g`` over the windows that it is in."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, shares: Tensor, windows: Windows, s: float) -> Tensor:  # noqa: ARG004
        return windows.scatter(shares * gradient, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        gradient, x, shares, ctx.windows, ctx.s = inputs
        ctx.save_for_backward(gradient, x, shares)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Any, ...]:
        gradient, x, shares = ctx.saved_tensors
        values, factor = ctx.windows.gather(outer), ctx.s * gradient
        if torch.is_grad_enabled():
            # As a function of x, for the derivatives of this one.
            shares = (ctx.s * ctx.windows.gather(x)).softmax(dim=0)
            by_gradient = (shares * values).sum(dim=0)
            by_values = shares * (values - by_gradient) * factor
        else:
            by_gradient = (shares * values).sum(dim=0)
            by_values = values.sub_(by_gradient).mul_(shares).mul_(factor)
        return by_gradient, ctx.windows.scatter(by_values, x), None, None, None
