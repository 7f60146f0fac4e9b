"""Captum's attribution classes as explainers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attrobust.explainers.base import Explainer
from attrobust.explainers.captum_engine.differentiable import attribute


@dataclass(frozen=True, kw_only=True)
class CaptumExplainer(Explainer):
    """An explainer whose maps are those of a Captum class."""

    @abstractmethod
    def captum(self, model: nn.Module, image: Tensor) -> Any:
        """The Captum explainer of a network; ``image``, 1×C×H×W, may be used to examine the network."""

    def arguments(self, x: Tensor) -> dict[str, Any]:
        """Further arguments of Captum's ``attribute``."""
        return {}

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, or B×1×h×w of a layer."""
        attached = x if create_graph else x.detach().requires_grad_()
        explainer = self.captum(model, x[:1].detach())
        maps: Tensor = attribute(explainer, attached, target=target, create_graph=create_graph, **self.arguments(x))
        return maps
