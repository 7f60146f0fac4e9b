"""Log-sum-exp pooling, the smooth counterpart of max-pooling in smoothed models."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        self.ceil_mode = pool.ceil_mode
        self.kernel, self.padding, self.dilation = (_pair(x) for x in (pool.kernel_size, pool.padding, pool.dilation))
        self.stride = _pair(pool.stride)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the size that the max-pooling gives."""
        plans = [self._plan(x.shape[axis - 2], axis) for axis in (0, 1)]
        if any(before or after for before, after, _ in plans):
            # Not minus infinity: second derivatives would multiply it by 0, which is NaN.
            lowest = torch.finfo(x.dtype).min / (4 * max(1.0, self.inverse_temperature))
            x = F.pad(x, [*plans[1][:2], *plans[0][:2]], value=lowest)
        # One strided slice for each offset in a window: several times faster than gathering the windows.
        rows, columns = ([self._places(axis, i, plans[axis][2]) for i in range(self.kernel[axis])] for axis in (0, 1))
        values = torch.stack([x[:, :, row, column] for row in rows for column in columns])
        largest = values.detach().amax(dim=0)
        return (
            largest + (self.inverse_temperature * (values - largest)).exp().sum(dim=0).log() / self.inverse_temperature
        )

    def _places(self, axis: int, offset: int, count: int) -> slice:
        """The slice of an axis with the value at ``offset`` of each of ``count`` windows."""
        start = offset * self.dilation[axis]
        return slice(start, start + (count - 1) * self.stride[axis] + 1, self.stride[axis])

    def _plan(self, size: int, axis: int) -> tuple[int, int, int]:
        """Padding before and after an axis, the excess of ``ceil_mode`` included, and the number of windows."""
        extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        pad, stride = self.padding[axis], self.stride[axis]
        room = size + 2 * pad - extent
        steps = room // stride
        if self.ceil_mode and room % stride and (steps + 1) * stride < size + pad:
            steps += 1
        return pad, max(pad, steps * stride + extent - size - pad), steps + 1


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
