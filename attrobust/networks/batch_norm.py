"""Batch normalisation that can be differentiated three times and more in training mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpelledOutBatchNorm(nn.BatchNorm2d):
    """``(x − mean) / sqrt(var + eps) · w + b`` in elementary operations.

    torch's own batch normalisation has no third derivative in training mode.

    Args:
        norm: the layer whose settings, weights and statistics are used, as the same tensors.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, affine=False, track_running_stats=norm.track_running_stats
        )
        self.affine, self.weight, self.bias = norm.affine, norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the same; like ``nn.BatchNorm2d`` up to rounding."""
        if not self.training:
            return super().forward(x)
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        self._follow(mean.detach().flatten(), variance.detach().flatten(), x.numel() // x.shape[1])
        normalised = (x - mean) / (variance + self.eps).sqrt()
        if not self.affine:
            return normalised
        return normalised * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics as ``nn.BatchNorm2d`` does, with the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / max(1, count - 1), share)
