"""One step along the sign of a map's gradient: the fast gradient sign method on explanations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.engine.signed import SignedDescent
from attrobust.attacks.objectives import mass
from attrobust.types import Amount


@register("fgsm")
@dataclass(frozen=True, kw_only=True)
class Fgsm(SignedDescent):
    """Least mass on the clean map's top k by one step, ``x - eps sign(∇L(x))`` (arXiv 1412.6572, section 4).

    L is the objective of ``topk``, ``Σ_{i in top-k(S(x))} S_i(x') / ΣS(x')``. A similarity such as the cosine gives no
    direction at the clean image, where it is largest and its gradient zero. For l2 the step has length eps. A step that
    would change the prediction is shortened by bisection. The cost is one gradient and one scored map beside the clean
    one.

    Attributes:
        k: pixels of the map, a count or a percentage.
        steps: more than one shrink linearly, from ``step``.
        step: of the first step, as a share of eps.
        restarts: 1, since the clean image is the start.
    """

    steps: int = 1
    step: float = 1.0
    k: Amount = Amount(10, percent=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts != 1:
            raise ValueError(f"restarts={self.restarts} must be 1: fgsm starts at the clean image")

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is every pixel of the map."""
        mass.check_some_left(self.k, height, width)

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Share of the map's mass on the pixels that were the k largest in absolute value."""
        maps = context.maps(x, y)
        return mass.share(mass.top_pixels(maps, self.k.of(maps[0].numel())))

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``; starts at the clean images."""
        known = context.remembering(x, y)
        return self.descend(known, *known.images, x).x
