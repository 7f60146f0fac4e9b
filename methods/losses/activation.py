"""For methods that train any network as it is: the choice of smooth activations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from attrobust.methods.base import Method
from attrobust.naming.checks import above_zero
from attrobust.networks.smoothed import is_smooth, softplus_view


@dataclass(frozen=True, kw_only=True)
class Activated(Method):
    """A method with the choice of activations, so that networks of one table can all have the same.

    Attributes:
        softplus: sharpness of the softplus that replaces every ReLU, as in the method ``softplus``; ``none`` keeps the
            activations the network has.
    """

    softplus: float | None = None

    def __post_init__(self) -> None:
        above_zero(self, "softplus")

    def prepare(self, model: nn.Module) -> nn.Module:
        """The same weights behind the activations asked for; a network that is already smooth stays as it is."""
        return model if self.softplus is None or is_smooth(model) else softplus_view(model, self.softplus)
