"""The contract of an explainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from attrobust.images import are_pixels_trusted, check_kind, check_like, check_pixels
from attrobust.networks.copying import without_inference
from attrobust.networks.smoothed import activations, is_smooth
from attrobust.networks.state import unchanged
from attrobust.places import ours
from attrobust.process import modes, normal, standard
from attrobust.storage import check_floats

BEYOND = 1.0
"""Distance from [0, 1] of the furthest point of a linf ball around an image, since its radius is at most 1."""


@dataclass(frozen=True, kw_only=True)
class Explainer(ABC):
    """Attributes a logit to the pixels. Subclasses are frozen dataclasses whose fields are the settings.

    An author writes ``attribute``; the base class handles what is the same for all: it checks arguments, switches
    gradients on whatever mode the caller is in, gives images with non-finite pixels a map of NaN, and checks the graph
    back to ``x``. An explainer is pure: it does not change the model, its gradients, its hooks or any random state, and
    the map of an image depends neither on the other images of the batch nor on how the work is cut into chunks.

    Attributes:
        stochastic: whether the map depends on ``generator``.
        ignores_image: whether every image has the same map; such an explainer is not attacked.
        ignores_target: whether an image has the same map whatever class is explained.
        ignores_network: whether an image has the same map whatever the network is: a sanity-check baseline.
        needs_attention: whether it explains transformers only; for other networks it raises ValueError.
        varies_within_region: whether the map varies within a linear region of a ReLU network, because it is made of
            outputs, of finite differences or of relevances. False for maps made of gradients, which are constant there:
            attacks differentiate those in a smoothed model.
    """

    stochastic: ClassVar[bool] = False
    ignores_image: ClassVar[bool] = False
    ignores_target: ClassVar[bool] = False
    ignores_network: ClassVar[bool] = False
    needs_attention: ClassVar[bool] = False
    varies_within_region: ClassVar[bool] = False

    @property
    def differentiable(self) -> bool:
        """Whether ``create_graph=True`` gives the exact derivative of the map with respect to the input.

        False where the map has no derivative or one that is zero everywhere; such an explainer is attacked by transfer
        or by queries.
        """
        return True

    @abstractmethod
    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """Attributions of a batch, which an author writes; gradients are switched on.

        Args:
            model: maps pixels in [0, 1] to logits, in evaluation mode.
            x: finite images, B×C×H×W; part of the caller's graph where ``create_graph`` is set, and without one
                elsewhere.
            target: the class explained, int64[B].
            create_graph: whether the result must be differentiable with respect to ``x``.
            generator: the only source of random numbers, on the CPU; draw once for all images of the batch.

        Returns:
            Tensor B×C×H×W; it is detached by the caller where no graph is wanted.
        """

    @final
    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Attributions, signed and not reduced over channels.

        Args:
            model: maps pixels in [0, 1] to logits, in evaluation mode.
            x: images, B×C×H×W of floats; must require grad where ``create_graph`` is set. Attacks and metrics also
                explain points near the box [0, 1]; pixels more than ``BEYOND`` outside of it are an error.
            target: the class explained, integers[B].
            create_graph: whether the result is to be differentiated with respect to ``x``.
            generator: random numbers of a stochastic explainer; a fixed seed is used where it is None.

        Returns:
            Tensor B×C×H×W, logit units per pixel unit (gradients) or logit units (their products with the input). An
            image with a pixel that is not finite has a map of NaN.

        Raises:
            ValueError: ``x`` is no batch of images; a part of the model is in training mode; ``target`` is not one
                class for each image; or a graph is asked for where ``x`` does not require grad or the explainer is not
                differentiable; or the model is one the explainer cannot explain; or ``attribute`` returned something
                else than maps, or maps without the graph asked for; or that of a plug-in changed images or network.
        """
        with modes() if ours(type(self)) else standard():
            return self._explained(model, x, target, create_graph, generator)

    def _explained(
        self, model: nn.Module, x: Tensor, target: Tensor, create_graph: bool, generator: torch.Generator | None
    ) -> Tensor:
        target = checked(model, x, target)
        if create_graph and not self.differentiable:
            raise ValueError(f"{type(self).__name__} is not differentiable: attack it by transfer or by queries")
        if create_graph and not x.requires_grad:
            raise ValueError("create_graph=True needs an x that requires grad: nothing could be differentiated")
        if create_graph and x.is_inference():
            raise ValueError(
                "create_graph=True needs an x that was not made in torch.inference_mode(): clone it outside"
            )
        if len(x) == 0:
            return x.clone()
        model = without_inference(model)
        source = torch.Generator().manual_seed(0) if generator is None else generator
        images = x if create_graph else normal(x.detach())
        not_finite = ~finite(images).view(-1, 1, 1, 1)
        # Where pixels are trusted no value is looked at, since that waits for a GPU.
        any_not_finite = are_pixels_trusted() or bool(not_finite.any())
        usable = images.masked_fill(not_finite, 0.0) if any_not_finite and not are_pixels_trusted() else images
        maps = self._attributed(model, usable, target, create_graph, source)
        if not isinstance(maps, Tensor) or maps.shape != x.shape:
            returned = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise ValueError(f"{type(self).__name__}.attribute returned {returned}, not a map of {tuple(x.shape)}")
        check_floats(maps, f"what {type(self).__name__}.attribute returns")
        if create_graph and not maps.requires_grad and activations(model) and is_smooth(model):
            # No activation is piecewise linear, so gradients are not constant and their map must have a graph.
            raise ValueError(
                f"{type(self).__name__}.attribute returned a map without a graph back to x: "
                "build it with create_graph, or let differentiable be False"
            )
        if create_graph:
            # A map that is constant in x gets a derivative of zero; autograd would raise an error.
            maps = maps + 0 * usable
        maps = maps.masked_fill(not_finite, float("nan")) if any_not_finite else maps
        return maps if create_graph else maps.detach()

    def _attributed(
        self, model: nn.Module, x: Tensor, target: Tensor, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """What ``attribute`` returns; that of a plug-in is held to leaving images and network as they are."""
        if ours(type(self)):
            return self.attribute(model, x, target, create_graph=create_graph, generator=generator)
        before, given = x.detach().clone(), x if create_graph else x.clone()
        with unchanged(model, "the explainer"):
            maps = self.attribute(model, given, target.clone(), create_graph=create_graph, generator=generator)
        if not torch.equal(given.detach(), before):
            raise ValueError("the explainer changes the images; work on copies")
        # A copy, since an explainer may return a tensor that it uses again.
        return maps.clone() if isinstance(maps, Tensor) else maps


@dataclass(frozen=True, kw_only=True)
class UnderivedExplainer(Explainer):
    """An explainer whose map has no derivative, or one that is zero everywhere."""

    @property
    def differentiable(self) -> bool:
        """False; attacks use a surrogate or queries."""
        return False


def checked(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The explained classes as int64[B].

    Raises:
        ValueError: ``x`` is no batch of images, a part of the model is in training mode, or ``target`` is not one
            class for each image.
    """
    check_kind(x, "images")
    if not are_pixels_trusted():
        check_pixels(x.detach().nan_to_num(0.0, 0.0, 0.0), "images", margin=BEYOND)
    check_like(x, model, "images")
    for name, module in model.named_modules():
        if module.training:
            where = f"part {name!r} of the model" if name else "the model"
            raise ValueError(f"{where} is in training mode; call model.eval() first")
    if not isinstance(target, Tensor) or target.shape != x.shape[:1] or target.is_floating_point():
        shown = tuple(target.shape) if isinstance(target, Tensor) else repr(target)
        raise ValueError(f"target must hold one class for each of the {len(x)} images, not {shown}")
    return normal(target).to(device=x.device, dtype=torch.int64)


def finite(x: Tensor) -> Tensor:
    """Which images have no pixel that is NaN or infinite, bool[B]."""
    return x.detach().isfinite().flatten(1).all(dim=1)


def check_grey(name: str, level: float) -> None:
    """Raise ValueError unless a setting is a pixel value."""
    if not 0 <= level <= 1:
        raise ValueError(f"{name}={level:g} must be a grey level between 0 and 1")
