"""The contract of an explainer, and the named ways to turn its signed channels into one map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

Reduction = Literal["abs-sum", "sum", "abs-max"]


@dataclass(frozen=True, kw_only=True)
class Explainer(ABC):
    """Attributes a logit to the pixels. Subclasses are frozen dataclasses whose fields are the settings.

    An explainer is pure: it leaves the model, its gradients and all random states as they were, and the map of an image
    does not depend on the other images of the batch.

    Attributes:
        differentiable: whether ``create_graph=True`` gives the exact derivative of the map with respect to the input.
        stochastic: whether the map depends on ``generator``.
    """

    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Raw, signed attributions.

        Args:
            model: maps pixels in [0, 1] to logits, in evaluation mode.
            x: images, B×C×H×W; must require grad where ``create_graph`` is set.
            target: the class explained, int64[B].
            create_graph: whether the result is to be differentiated with respect to ``x``.
            generator: random numbers of a stochastic explainer; a fixed seed is used where it is None.

        Returns:
            Tensor B×C×H×W, logit units per pixel unit (gradients) or logit units (their products with the input).
        """


def reduce_map(maps: Tensor, how: Reduction) -> Tensor:
    """B×C×H×W attributions to B×H×W maps.

    Args:
        maps: signed attributions.
        how: ``abs-sum`` is ``Σ_c |a_c|``, ``sum`` is ``Σ_c a_c``, ``abs-max`` is ``max_c |a_c|``.
    """
    if how == "abs-sum":
        return maps.abs().sum(dim=1)
    if how == "sum":
        return maps.sum(dim=1)
    if how == "abs-max":
        return maps.abs().amax(dim=1)
    raise ValueError(f"reduction {how!r} is not one of abs-sum, sum, abs-max")
