"""Softplus as a subclass of ``nn.ReLU``, for explainers with special rules for ReLU modules."""

from __future__ import annotations

from torch import Tensor, nn

from attrobust.networks.low_curvature import CentredSoftplus
from attrobust.networks.private_copy import Network, one_module_per_call
from attrobust.networks.smoothed import replace_modules


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


def rectified(model: nn.Module, x: Tensor) -> Network:
    """A private copy, one module per call, in which every softplus, centred or not, is an instance of ``nn.ReLU``.

    Args:
        model, x: as for ``one_module_per_call``, whose errors are raised.
    """
    network, kinds = one_module_per_call(model, x), (nn.Softplus, CentredSoftplus)
    replace_modules(network, lambda module: SoftplusRectifier(module) if isinstance(module, kinds) else None)
    return network
