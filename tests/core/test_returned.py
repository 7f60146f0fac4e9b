"""What explainers, attacks and metrics return is plain numbers: nothing is dropped of complex ones, or rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from attrobust import Attack, Context, Explainer, Similarity, load
from attrobust.explainers.saliency import Saliency

ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "complex": lambda x: x + 0j,
    "whole numbers": lambda x: x.long(),
    "without values": lambda x: x.to("meta"),
    "sparse": lambda x: x.to_sparse(),
}
odd = pytest.mark.parametrize("kind", ODD)


@dataclass(frozen=True, kw_only=True)
class OddMaps(Explainer):
    kind: str

    def attribute(
        self, model: object, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        return ODD[self.kind](x.detach())


@dataclass(frozen=True, kw_only=True)
class OddImages(Attack):
    kind: str

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return ODD[self.kind](x)


@dataclass(frozen=True, kw_only=True)
class OddScores(Similarity):
    kind: str
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        return ODD[self.kind](torch.ones(len(a)))


@odd
def test_maps_and_images_are_floats(
    kind: str, real_images: tuple[Tensor, Tensor], make_context: Callable[..., Context]
) -> None:
    x, model = real_images[0][:2], load("digits/natural")
    y = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^what OddMaps\.attribute returns must be"):
        OddMaps(kind=kind)(model, x, y)
    context = make_context(model, Saliency(), x)
    with pytest.raises(ValueError, match=r"^what OddImages\.run returns must be"):
        OddImages(kind=kind)(context, x, context.predict(x))


@odd
def test_scores_are_real_numbers(kind: str) -> None:
    maps = torch.rand(2, 4, 4)
    if kind == "whole numbers":
        assert OddScores(kind=kind)(maps, maps).tolist() == [1, 1]
    else:
        with pytest.raises(ValueError, match=r"^what OddScores\.compare returns must be"):
            OddScores(kind=kind)(maps, maps)
