"""Softplus as a subclass of ``nn.ReLU``, for explainers with special rules for ReLU modules."""

from __future__ import annotations

from torch import Tensor, nn

from attrobust.networks.low_curvature import CentredSoftplus
from attrobust.networks.smoothed import replace_modules, shared_copy


class SoftplusRectifier(nn.ReLU):
    """A softplus that is an instance of ``nn.ReLU``.

    Args:
        softplus: the module that is computed.
    """

    def __init__(self, softplus: nn.Module) -> None:
        super().__init__()
        self.softplus = softplus

    def forward(self, x: Tensor) -> Tensor:
        """The softplus of ``x``."""
        return self.softplus(x)  # type: ignore[no-any-return]


def with_rectifiers(model: nn.Module) -> nn.Module:
    """A copy, sharing all tensors, in which every softplus module, centred or not, is an instance of ``nn.ReLU``."""
    copy, kinds = shared_copy(model), (nn.Softplus, CentredSoftplus)
    if isinstance(copy, kinds):
        return SoftplusRectifier(copy)
    replace_modules(copy, lambda module: SoftplusRectifier(module) if isinstance(module, kinds) else None)
    return copy
