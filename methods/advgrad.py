"""Norm-regularised adversarial training: Gong, Dou and Farnia, CVPR 2024."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.maps.lengths import PIXELS, unit
from attrobust.methods import register
from attrobust.methods.base import Batch
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.gradients import differentiable, loss_gradient
from attrobust.naming.checks import above_zero, at_least, in_pixel_units, not_negative
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost

UNIT = 0.226
"""The mean standard deviation of ImageNet's channels: one unit of the paper's normalised images, in pixels."""


@register("advgrad")
@dataclass(frozen=True, kw_only=True)
class AdvGrad(Activated):
    """Cross-entropy at ``x + δ``, where δ maximises ``CE(x + δ) − h*(δ)`` for the dual h* of a norm h of the gradient.

    To first order this is training with the penalty h. For the gradient g of each image's own cross-entropy:

    - ``l1``: h = eps ||g||₁; ``δ = eps sign(g)``, or steps of the sign, kept within eps.
    - ``elastic``: h = eps ||g||₁ + eps2 ||g||₂²; ``δ = eps sign(g) + 2 eps2 g``, or steps along the unit gradient of
      ``CE − ||(|δ| − eps)₊||² / (4 eps2)``.
    - ``group``: h = eps Σ ||g_S||₂ over square patches S of each channel; ``δ_S = eps g_S / ||g_S||``, or unit steps,
      every patch kept within eps.
    - ``harmonized``: ``δ = 2 eps g/||g||₂ ⊙ (½ − gaze)``, for datasets with gaze maps.

    ``variant=paper`` lets δ leave the pixel box, as the official code does: 18 % of the pixels of an adversarial digit
    (digits/natural, eps 8/255, eps2 0.05) are then outside [0, 1], and its cross-entropy is 0.125, against 0.064 with
    valid pixels. The official code divides by a patch's norm, which gives NaN where a patch's gradient is zero; here
    such a patch is not changed.

    Attributes:
        penalty: h, see above.
        training: ``fast`` takes one step, ``iterative`` takes ``steps``; ``harmonized`` is always fast.
        eps: in pixels: of every pixel for l1 and elastic, of a patch for group, of half the image for harmonized.
        eps2: of elastic, in pixels² per unit of cross-entropy.
        patch: width of a patch in pixels; must divide that of the image.
        steps: of iterative training.
        step: size of one in pixels; ``none`` means the paper's: 0.3 eps for l1, and lengths of 0.3 (elastic) and 1
            (group) of its normalised units.
        variant: ``corrected``, or ``paper`` for the official behaviour.
        softplus: see ``Activated``.
    """

    penalty: Literal["l1", "elastic", "group", "harmonized"] = "elastic"
    training: Literal["fast", "iterative"] = "fast"
    eps: float = 0.01 * UNIT
    eps2: float = 0.05 * UNIT**2
    patch: int = 14
    steps: int = 7
    step: float | None = None
    variant: Literal["corrected", "paper"] = "corrected"

    card: ClassVar[Card] = Card(
        title="Structured Gradient-based Interpretations via Norm-Regularized Adversarial Training",
        authors="Gong et al.",
        year=2024,
        arxiv="2404.04647",
        equation="L = CE(f(x + d), y), d = argmax CE(f(x + d), y) - h*(d)",
        note="The paper writes eps = 0.01 and eps2 = 0.05 (elastic), 0.5 (harmonized), in units of ImageNet's standard "
        "deviation, 0.226 in pixels: 0.0023, 0.0026 and 0.11 here. It trains EfficientNet-B0 and picks the epoch on "
        "the test split, which we never do.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "eps")
        if self.penalty in ("l1", "elastic"):
            in_pixel_units(self, "eps")
        above_zero(self, "eps2", "step")
        at_least(1, self, "patch", "steps")
        if self.penalty == "harmonized" and self.training == "iterative":
            raise ValueError("penalty=harmonized has no training=iterative")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Method.without_effect``: settings of other penalties and of the other training."""
        without_effect = set() if self.penalty == "elastic" else {"eps2"}
        without_effect |= set() if self.penalty == "group" else {"patch"}
        return frozenset(without_effect | (set() if self.training == "iterative" else {"steps", "step"}))

    def check_images(self, *, channels: int, size: int, classes: int, gaze: bool) -> None:
        """See ``Method.check_images``: patches must tile the image, and ``harmonized`` needs gaze maps."""
        if self.penalty == "group" and size % self.patch:
            whole = ", ".join(str(width) for width in range(2, size + 1) if size % width == 0)
            raise ValueError(f"patch={self.patch} does not divide the images' width of {size} pixels; use {whole}")
        if self.penalty == "harmonized" and not gaze:
            raise ValueError("penalty=harmonized needs maps of where people look: --dataset imagefolder:gaze=FOLDER")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        inner = 1 if self.training == "fast" else self.steps
        return Cost(forward=inner + 1, backward=inner + 1)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """See ``Method.losses``."""
        yield F.cross_entropy(model(self.adversarial(model, batch.x, batch.y, batch.gaze)), batch.y)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Mean cross-entropy at the adversarial images; a scalar. For a penalty that needs no gaze maps."""
        return F.cross_entropy(model(self.adversarial(model, x, y)), y)

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor, gaze: Tensor | None = None) -> Tensor:
        """``x + δ``, B×C×H×W, found with the network in evaluation mode.

        Args:
            model: the network.
            x: images, B×C×H×W.
            y: classes, int64[B].
            gaze: gaze maps, B×H×W; for ``harmonized`` only.

        Raises:
            ValueError: ``harmonized`` without a gaze map.
        """
        with evaluating(model):
            moved = self._fast(model, x, y, gaze) if self.training == "fast" else self._iterative(model, x, y)
        return moved if self.variant == "paper" else moved.clamp(0, 1)

    def _fast(self, model: nn.Module, x: Tensor, y: Tensor, gaze: Tensor | None) -> Tensor:
        gradient = _gradient_at(model, x, y)
        if self.penalty == "l1":
            delta = self.eps * gradient.sign()
        elif self.penalty == "elastic":
            delta = self.eps * gradient.sign() + 2 * self.eps2 * gradient
        elif self.penalty == "group":
            delta = self.eps * unit(_tiles(gradient, self.patch), dims=(3, 5)).reshape(x.shape)
        elif gaze is None:
            raise ValueError("penalty=harmonized needs maps of where people look")
        else:
            delta = 2 * self.eps * unit(gradient, dims=PIXELS) * (0.5 - gaze[:, None])
        return x + delta

    def _iterative(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        delta = torch.zeros_like(x)
        for _ in range(self.steps):
            gradient = _gradient_at(model, x + delta, y)
            if self.penalty == "l1":
                step = 0.3 * self.eps if self.step is None else self.step
                delta = (delta + step * gradient.sign()).clamp(-self.eps, self.eps)
            elif self.penalty == "elastic":
                beyond = (delta.abs() - self.eps).clamp_min(0) * delta.sign()
                step = 0.3 * UNIT if self.step is None else self.step
                delta = delta + step * unit(gradient - beyond / (2 * self.eps2), dims=PIXELS)
            else:
                delta = delta + (UNIT if self.step is None else self.step) * unit(gradient, dims=PIXELS)
                tiles = _tiles(delta, self.patch)
                length = tiles.square().sum(dim=(3, 5), keepdim=True).sqrt()
                delta = (tiles * (self.eps / length.clamp_min(self.eps))).reshape(x.shape)
            if self.variant == "corrected":
                delta = (x + delta).clamp(0, 1) - x
        return x + delta


def _gradient_at(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = differentiable(x)
    return loss_gradient(model(x), x, y)


def _tiles(values: Tensor, patch: int) -> Tensor:
    """B×C×H×W as B×C×rows×patch×columns×patch; H and W are whole patches."""
    batch, channels, height, width = values.shape
    return values.reshape(batch, channels, height // patch, patch, width // patch, patch)
