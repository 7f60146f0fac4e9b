"""Max-pooling without kinks, as attackers see it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LogSumExpPool(nn.Module):
    """``log(Σ exp(s x)) / s`` over the windows of a max-pooling, which is its limit for large s.

    Between two equal values a maximum jumps from one derivative to another, which a second derivative does not see.
    Larger than the maximum by at most ``log(n) / s`` for windows of n values.

    Args:
        pool: the max-pooling whose windows these are.
        sharpness: s, above 0.
    """

    def __init__(self, pool: nn.MaxPool2d, sharpness: float) -> None:
        super().__init__()
        if not sharpness > 0:
            raise ValueError(f"the sharpness of a smooth pooling must be above 0, not {sharpness:g}")
        if pool.return_indices:
            raise ValueError("a max-pooling that returns indices has no smooth counterpart")
        self.sharpness = sharpness
        self.ceil_mode = pool.ceil_mode
        self.kernel, self.padding, self.dilation = (_pair(x) for x in (pool.kernel_size, pool.padding, pool.dilation))
        self.stride = _pair(pool.stride)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the size that the max-pooling gives."""
        margins = [self._margins(x.shape[axis - 2], axis) for axis in (0, 1)]
        if any(any(margin) for margin in margins):
            # Not minus infinity: zero times that is no number, in second derivatives.
            x = F.pad(x, [*margins[1], *margins[0]], value=torch.finfo(x.dtype).min / (4 * max(1.0, self.sharpness)))
        reach = [(size - 1) * gap + 1 for size, gap in zip(self.kernel, self.dilation, strict=True)]
        windows = x.unfold(2, reach[0], self.stride[0]).unfold(3, reach[1], self.stride[1])
        windows = windows[..., :: self.dilation[0], :: self.dilation[1]]
        return torch.logsumexp(self.sharpness * windows, dim=(-2, -1)) / self.sharpness

    def _margins(self, size: int, axis: int) -> tuple[int, int]:
        """What is added before and after one axis, the excess of ``ceil_mode`` included."""
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        pad, stride = self.padding[axis], self.stride[axis]
        room = size + 2 * pad - reach
        steps = room // stride
        if self.ceil_mode and room % stride and (steps + 1) * stride < size + pad:
            steps += 1
        return pad, max(pad, steps * stride + reach - size - pad)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
