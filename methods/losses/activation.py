"""Base class of methods that can train any network: the setting ``softplus``."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from attrobust.methods.base import Method
from attrobust.naming.checks import above_zero
from attrobust.networks.smoothed import is_smooth, softplus_model


@dataclass(frozen=True, kw_only=True)
class Activated(Method):
    """A method with a setting for the activations, so that all networks of a table can have the same.

    Attributes:
        softplus: beta of the softplus that replaces every ReLU, as in the method ``softplus``; ``none`` keeps the
            network's activations.
    """

    softplus: float | None = None

    def __post_init__(self) -> None:
        above_zero(self, "softplus")

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network with softplus activations if the setting says so; a smooth network is returned as it is."""
        return model if self.softplus is None or is_smooth(model) else softplus_model(model, self.softplus)
