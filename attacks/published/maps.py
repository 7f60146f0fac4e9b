"""Maps that official codes attack, whatever explainer is scored; each is an ``Explain``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.attacks.base import Explain


class OfGradients(ABC):
    """Base class of maps made of gradients: deterministic and differentiable."""

    stochastic: ClassVar[bool] = False
    varies_within_region: ClassVar[bool] = False
    ignores_image: ClassVar[bool] = False
    differentiable = True

    @abstractmethod
    def attribute(self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool) -> Tensor:
        """B×C×H×W, of images that require grad; gradients are switched on."""

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        create_graph: bool = False,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Tensor:
        """B×C×H×W; see ``Explain``."""
        with torch.enable_grad():
            attached = x if create_graph else x.detach().requires_grad_()
            maps = self.attribute(model, attached, target, create_graph=create_graph)
        return maps if create_graph else maps.detach()


@dataclass(frozen=True)
class LossGradient(OfGradients):
    """Gradient of the cross-entropy, ``∇_x CE(f(x), y)``, in pixel units."""

    def attribute(self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool) -> Tensor:
        """See ``OfGradients.attribute``."""
        loss = F.cross_entropy(model(x), target, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x, create_graph=create_graph)
        return gradient


@dataclass(frozen=True)
class RightIG(OfGradients):
    """Integrated gradients by the right Riemann sum, ``(x - x0) / m Σ_{k=1..m} ∇f(x0 + k/m (x - x0))``.

    Attributes:
        points: m.
        of: f is the logit or the softmax probability of the class.
        product_rule: whether the factor ``x - x0`` is differentiated too; if not, the derivative is that of the path
            alone, ``Σ_k (k/m) ∂/∂x_k``.
        baseline: x0, in pixels; 1×C×1×1 or one for all channels.
    """

    points: int
    of: Literal["logit", "probability"] = "logit"
    product_rule: bool = True
    baseline: Tensor | float = 0.0

    def attribute(self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool) -> Tensor:
        """See ``OfGradients.attribute``."""
        share = torch.arange(1, self.points + 1, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1) / self.points
        path = (self.baseline + share * (x - self.baseline)[:, None]).flatten(0, 1)
        outputs = model(path) if self.of == "logit" else model(path).softmax(dim=1)
        explained = outputs.gather(1, target.repeat_interleave(self.points)[:, None]).sum()
        (gradients,) = torch.autograd.grad(explained, path, create_graph=create_graph)
        factor = x if self.product_rule else x.detach()
        maps: Tensor = (factor - self.baseline) * gradients.view(len(x), self.points, *x.shape[1:]).mean(dim=1)
        return maps


@dataclass(frozen=True)
class OfPredicted:
    """Another explainer's map of the class that the given network predicts; the argument ``target`` is ignored."""

    explainer: Explain

    @property
    def stochastic(self) -> bool:
        """Of the wrapped explainer."""
        return self.explainer.stochastic

    @property
    def varies_within_region(self) -> bool:
        """Of the wrapped explainer."""
        return self.explainer.varies_within_region

    @property
    def ignores_image(self) -> bool:
        """Of the wrapped explainer."""
        return self.explainer.ignores_image

    @property
    def differentiable(self) -> bool:
        """Of the wrapped explainer."""
        return self.explainer.differentiable

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,  # noqa: ARG002
        *,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """B×C×H×W; see ``Explain``."""
        with torch.no_grad():
            predicted = model(x).argmax(dim=1)
        return self.explainer(model, x, predicted, create_graph=create_graph, generator=generator)
