"""Softplus as the rectifier it stands for, in the eyes of code that looks for ReLU modules."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from attrobust.views import replace_modules, shared_copy


class SoftplusRectifier(nn.ReLU):
    """Softplus that passes for a ReLU.

    Args:
        softplus: whose sharpness and threshold it has.
    """

    def __init__(self, softplus: nn.Softplus) -> None:
        super().__init__()
        self.beta, self.threshold = softplus.beta, softplus.threshold

    def forward(self, x: Tensor) -> Tensor:
        """``log(1 + exp(beta x)) / beta``."""
        return functional.softplus(x, self.beta, self.threshold)


def with_rectifiers(model: nn.Module) -> nn.Module:
    """A copy sharing all tensors in which every softplus module passes for a ReLU."""
    copy = shared_copy(model)
    if isinstance(copy, nn.Softplus):
        return SoftplusRectifier(copy)
    replace_modules(copy, lambda module: SoftplusRectifier(module) if isinstance(module, nn.Softplus) else None)
    return copy
