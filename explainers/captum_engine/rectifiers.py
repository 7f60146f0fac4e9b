"""Softplus as the rectifier it stands for, in the eyes of code that looks for ReLU modules."""

from __future__ import annotations

from torch import Tensor, nn

from attrobust.networks.low_curvature import CentredSoftplus
from attrobust.networks.smoothed import replace_modules, shared_copy


class SoftplusRectifier(nn.ReLU):
    """Softplus that passes for a ReLU.

    Args:
        softplus: what it computes.
    """

    def __init__(self, softplus: nn.Module) -> None:
        super().__init__()
        self.softplus = softplus

    def forward(self, x: Tensor) -> Tensor:
        """What the softplus makes of ``x``."""
        return self.softplus(x)  # type: ignore[no-any-return]


def with_rectifiers(model: nn.Module) -> nn.Module:
    """A copy sharing all tensors in which every softplus module, centred or not, passes for a ReLU."""
    copy, kinds = shared_copy(model), (nn.Softplus, CentredSoftplus)
    if isinstance(copy, kinds):
        return SoftplusRectifier(copy)
    replace_modules(copy, lambda module: SoftplusRectifier(module) if isinstance(module, kinds) else None)
    return copy
