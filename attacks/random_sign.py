"""Random signs, the random baseline of Ghorbani et al., AAAI 2019."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.noise import Noise
from attrobust.attacks.objectives import scores
from attrobust.attacks.published.variants import Variant, always_kept, by_variant, settle
from attrobust.naming.checks import above_zero
from attrobust.types import Amount


@register("random-sign")
@dataclass(frozen=True, kw_only=True)
class RandomSign(Noise):
    """Every pixel moved by ±eps at random; the feasible draw of lowest cosine (arXiv 1710.10547, section 3).

    ``variant=paper`` is the official code's random walk: at each of 300 iterations a step of random signs, projected
    onto ball and box. The result is the point with the smallest top-k intersection among those that keep the
    prediction, whether the threat model requires that or not. After n steps a pixel has moved by about √n steps.

    Attributes:
        draws: number of draws; of the official walk, iterations.
        step: of the official walk, in pixels.
        k: pixels of the top-k intersection of the official walk, a count or a percentage.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    draws: int = by_variant(corrected=10, paper=300)
    step: float = 0.5 / 255
    k: Amount = Amount(10, percent=True)
    variant: Variant = "corrected"

    def __post_init__(self) -> None:
        settle(self)
        super().__post_init__()
        above_zero(self, "step")

    @property
    def without_effect(self) -> frozenset[str]:
        """Settings without effect: those of the official walk, in the corrected form."""
        return frozenset({"step", "k"}) if self.variant == "corrected" else frozenset()

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is more than the pixels of a map."""
        self.k.of(height * width)

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        return super().run(always_kept(context) if self.variant == "paper" else context, x, y)

    def score(self, clean: Tensor) -> Objective:
        """See ``Noise.score``."""
        return super().score(clean) if self.variant == "corrected" else scores.topk(clean, self.k.of(clean[0].numel()))

    def candidates(self, context: Context, x: Tensor) -> Iterator[Tensor]:
        """See ``Noise.candidates``."""
        streams, walked = context.streams("random sign"), x
        for _ in range(self.draws):
            signs = streams.uniform(x).sign()
            walked = context.threat.project(x, walked + self.step * signs)
            yield walked if self.variant == "paper" else context.threat.scatter(x, signs)
