"""The case: all that a metric may use of a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor, nn

from attrobust.images import check_pixels
from attrobust.maps.seeds import ImageStreams
from attrobust.networks.copying import without_inference
from attrobust.process import normal


def no_other_network(_model: nn.Module, _x: Tensor, _target: Tensor) -> Tensor:
    """In place of ``Case.explain_with`` where there is none; raises RuntimeError."""
    raise RuntimeError("this case explains the predictions of its own network alone: it has no explain_with")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Images before and after an attack, the network, and the function that explains its predictions.

    Attributes:
        model: the scored network, in evaluation mode and in float64 where the device has it; must not be changed. A
            plug-in has a copy of its own, which ``explain`` does not use.
        clean, attacked: images in [0, 1], B×C×H×W, typed like the model; the same tensor where there is no attack.
            These, the other tensors and all maps are the metric's own copies.
        target: the class the protocol explains, int64[B].
        explain: signed attributions B×C×H×W from images B×C×H×W and classes int64[B], as they are scored: a stochastic
            explainer uses the same draws every time.
        explain_with: as ``explain``, of another network, which is its first argument: a changed copy of ``model``. By
            default it raises RuntimeError.
        reduce: B×C×H×W attributions to B×H×W maps, as the protocol scores them.
        partners: for each image another one, of another class, B×C×H×W.
        seed: of the evaluation.
        ids: position of each image in the fixed list.
        masks: object masks, bool B×H×W; None where the dataset has none.

    Raises:
        ValueError: images are not floats B×C×H×W, finite and in [0, 1].
    """

    model: nn.Module
    clean: Tensor
    attacked: Tensor
    target: Tensor
    explain: Callable[[Tensor, Tensor], Tensor]
    reduce: Callable[[Tensor], Tensor]
    partners: Tensor
    seed: int
    ids: Sequence[int]
    masks: Tensor | None = None
    explain_with: Callable[[nn.Module, Tensor, Tensor], Tensor] = no_other_network

    def __post_init__(self) -> None:
        for name in ("clean", "attacked", "partners"):
            check_pixels(getattr(self, name), f"{name} images")

    @cached_property
    def clean_attributions(self) -> Tensor:
        """Signed attributions of the clean images, of the class ``target``, B×C×H×W; computed once."""
        return self.explain(self.clean, self.target)

    @cached_property
    def attacked_attributions(self) -> Tensor:
        """Signed attributions of the attacked images, of the class ``target``, B×C×H×W; computed once."""
        if self.attacked is self.clean:
            return self.clean_attributions
        return self.explain(self.attacked, self.target)

    @cached_property
    def clean_maps(self) -> Tensor:
        """Maps of the clean images, B×H×W; computed once."""
        return self.reduce(self.clean_attributions)

    @cached_property
    def attacked_maps(self) -> Tensor:
        """Maps of the attacked images, B×H×W; computed once."""
        return self.reduce(self.attacked_attributions)

    @cached_property
    def partner_attributions(self) -> Tensor:
        """Signed attributions of the partners, of their predicted classes, B×C×H×W; computed once."""
        return self.explain(self.partners, self.model(self.partners).argmax(dim=1))

    def ordinary(self) -> Case:
        """The case, or one with copies of network and images where they were made in ``torch.inference_mode()``."""
        model, clean = without_inference(self.model), normal(self.clean)
        attacked = clean if self.attacked is self.clean else normal(self.attacked)
        partners, target = normal(self.partners), normal(self.target)
        if model is self.model and clean is self.clean and attacked is self.attacked:
            return self
        return replace(self, model=model, clean=clean, attacked=attacked, partners=partners, target=target)

    def streams(self, purpose: str) -> ImageStreams:
        """Random streams of the images, the same in every batch; those of other purposes are independent."""
        return ImageStreams(self.seed, self.ids, purpose)
