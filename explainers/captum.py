"""Captum's attribution classes as explainers."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from explainers.base import Explainer
from explainers.graph import GraphMode


@dataclass(frozen=True, kw_only=True)
class CaptumExplainer(Explainer):
    """An explainer whose values are those of an unmodified Captum class."""

    @abstractmethod
    def attribute(self, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        """Call Captum; ``x`` requires grad."""

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        create_graph: bool = False,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Tensor:
        """See ``Explainer.__call__``."""
        if create_graph and not x.requires_grad:
            raise ValueError("create_graph=True needs an x that requires grad: nothing could be differentiated")
        attached = x if create_graph else x.detach().clone().requires_grad_()
        with GraphMode() if create_graph else nullcontext():
            maps = self.attribute(model, attached, target)
        return maps if create_graph else maps.detach()
