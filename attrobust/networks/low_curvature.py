"""Layers of bounded curvature and slope for low-curvature networks: Srinivas et al., NeurIPS 2022, arXiv 2206.07144."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

INITIAL_ITERATIONS = 15


class CentredSoftplus(nn.Module):
    """``s(x) = (softplus(b x) - log 2) / b``, ``b = β + 1e-3``: a softplus, 0 at 0, of learned inverse temperature.

    Its slope is at most 1 and its second derivative at most b/4; as β goes to 0 it becomes the line x/2. Like torch's
    softplus it is linear where b x is above 20.

    Args:
        beta: initial inverse temperature, above 0; the parameter is its logarithm.
    """

    def __init__(self, beta: float = 5.0) -> None:
        super().__init__()
        self.log_beta = nn.Parameter(torch.tensor(math.log(beta)))

    @property
    def beta(self) -> Tensor:
        """The inverse temperature β that is penalised, a scalar."""
        return self.log_beta.exp()

    def forward(self, x: Tensor) -> Tensor:
        """``s(x)``, of any shape."""
        # The constant keeps the divisor above 0 where training drives β to 0.
        inverse_temperature = self.beta + 1e-3
        return (F.softplus(inverse_temperature * x) - math.log(2)) / inverse_temperature


class LipschitzBatchNorm(nn.BatchNorm2d):
    """Batch normalisation without weights of its own whose slope is at most γ: ``BN(x) min(1, γ m)``.

    m is the smallest standard deviation of a channel, ``sqrt(min running_var + eps)``, as it was before this batch.
    While evaluating, no channel is multiplied by more than ``min(1/m, γ)``.

    Args:
        norm: the layer whose size, momentum, eps and statistics are used, the latter as the same tensors.
        gamma: initial γ, above 0; the parameter is its logarithm.

    Raises:
        ValueError: the normalisation keeps no statistics.
    """

    def __init__(self, norm: nn.BatchNorm2d, gamma: float = 10.0) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, affine=False)
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a batch normalisation without running statistics has no slope to bound")
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.log_gamma = nn.Parameter(torch.tensor(math.log(gamma)).to(norm.running_var))

    def gain(self) -> Tensor:
        """``min(1, γ m)``, a scalar."""
        assert self.running_var is not None
        bound = self.log_gamma.exp() * (self.running_var.min() + self.eps).sqrt()
        # Not torch.minimum, which explainers with rules for operations would treat as an operation on the image.
        return torch.stack([torch.ones_like(bound), bound]).amin()

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the same."""
        # Before the call below, which changes the statistics that the gain is computed from.
        gain = self.gain()
        return super().forward(x) * gain


class SpectralNorm(nn.Module):
    """A convolution's weight divided by the largest singular value of the convolution as a linear map between images.

    The singular value is ``<u, W v>`` with u and v from power iteration, ``v ← Wᵀu / |Wᵀu|``, ``u ← W v / |W v|``. It
    is iterated fifteen times at first and once for every use in training mode, and differentiated with u and v held
    fixed. For ``torch.nn.utils.parametrize``. torch's own ``spectral_norm`` is that of the weight reshaped to a matrix,
    which is another number.

    Args:
        convolution: with zero padding; its weight is read.
        shape: C×H×W of its input.

    Raises:
        ValueError: another kind of padding.
    """

    u: Tensor
    v: Tensor

    def __init__(self, convolution: nn.Conv2d, shape: tuple[int, ...]) -> None:
        super().__init__()
        if convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
            raise ValueError("the spectral norm is implemented for convolutions with zero padding given as a number")
        self._settings = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
        weight = convolution.weight.detach()
        self.register_buffer("v", weight.new_zeros(1, *shape))
        self.register_buffer("u", torch.randn_like(self._image(weight)))
        self.iterate(weight, INITIAL_ITERATIONS)

    def _image(self, weight: Tensor) -> Tensor:
        """``W v``."""
        # A copy: autograd still needs this v when the next iteration overwrites it.
        return F.conv2d(self.v.clone(), weight, None, *self._settings)

    @torch.no_grad()
    def iterate(self, weight: Tensor, times: int) -> None:
        """Bring u and v closer to the singular vectors of the largest singular value."""
        for _ in range(times):
            back = conv2d_input(self.v.shape, weight, self.u, *self._settings)  # type: ignore[no-untyped-call]
            self.v.copy_(back / back.norm().clamp_min(1e-12))
            image = self._image(weight)
            self.u.copy_(image / image.norm().clamp_min(1e-12))

    def norm(self, weight: Tensor) -> Tensor:
        """``<u, W v>``, a scalar."""
        return (self.u.clone() * self._image(weight)).sum()

    def forward(self, weight: Tensor) -> Tensor:
        """The weight divided by its spectral norm; a weight of zeros is returned as it is."""
        if self.training:
            self.iterate(weight, 1)
        norm = self.norm(weight)
        return weight / (norm + (norm == 0))
