"""Another image's map as target: Dombrowski et al., NeurIPS 2019."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.adam import adam
from attrobust.attacks.engine.descent import sum_normalized
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.published.maps import OfPredicted, RightIG
from attrobust.attacks.published.variants import LastIterate, by_variant
from attrobust.naming.checks import above_zero
from attrobust.networks.smooth_calls import softplus_everywhere
from attrobust.networks.smoothed import input_mean, input_scale

MAP_WEIGHT, OUTPUT_WEIGHT = 1e11, 1e6
REFERENCE_BETA = 1000.0
IG_POINTS = 30


@register("target")
@dataclass(frozen=True, kw_only=True)
class Target(LastIterate):
    """Nearest map to that of another image: ``min ||S(x') - S(x_T)||²``, maps normalised to sum 1 (arXiv 1906.07983).

    The other image is the next one of the fixed list with another class, explained for the class the network predicts
    for it.

    ``variant=paper`` descends ``1e11 MSE(S(x'), S(x_T)) + 1e6 MSE(p(x'), p(x))`` by Adam from the clean image and
    returns the last iterate. Only the penalty keeps the softmax probabilities p; pixels are clamped to [0, 1], and the
    harness projects the result onto the ball. The temperature of its softplus falls, ``beta growth^(t/T)``; the map of
    x_T and p(x) are those of a softplus of beta 1000. With ``growth=1`` both are of the network that is differentiated;
    ``differentiate=own`` is the official code without beta growth, on a ReLU network, whose gradient maps have no
    derivative to descend. The class explained is the one that the differentiated network predicts for x' at each
    iteration.

    Attributes:
        steps: iterations; the official code has 1500.
        lr: of Adam, in normalised units.
        explanation: the map that ``variant=paper`` attacks: the ``scored`` explainer's, which differs from the official
            one only by its units, or ``ig-probability``, the official integrated gradients: 30 points from the mean
            colour, of the probability and not of the logit.
        beta, pool, growth: see ``GradientAttack``; the official code grows a softplus from 10 to 100.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    steps: int = by_variant(corrected=50, paper=1500)
    lr: float = 2e-4
    explanation: Literal["scored", "ig-probability"] = "scored"
    beta: float | None = by_variant(corrected=None, paper=10.0)
    pool: float | None = by_variant(corrected=None, paper=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "lr")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Published.without_effect``."""
        return super().without_effect | (
            frozenset({"lr", "explanation"}) if self.variant == "corrected" else frozenset()
        )

    @property
    def floor(self) -> float:
        """0, where the map is the target's."""
        return 0.0

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:  # noqa: ARG002
        """Squared distance to the other image's map."""
        return self._distance(context.maps(context.partners, context.predict(context.partners)))

    def cooling(self, iteration: int) -> float:
        """See ``GradientAttack.cooling``; the official code stops one iteration before the full ``growth``."""
        if self.variant == "corrected":
            return super().cooling(iteration)
        return float(self.growth ** (iteration / self.steps))

    def trajectory(self, context: Context, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """See ``LastIterate.trajectory``."""
        source = self.source(context)
        explainer = source.explainer
        if self.explanation == "ig-probability":
            explainer = RightIG(IG_POINTS, of="probability", baseline=input_mean(source.model))
        # Explain declares class variables; OfPredicted has properties of the wrapped explainer instead.
        source = replace(source, explainer=OfPredicted(explainer), observer=None)  # type: ignore[arg-type]
        reference = self.differentiated(source, x).network
        if reference is not source.model and self.growth != 1:
            reference = softplus_everywhere(source.model, x, REFERENCE_BETA)
        distance = self._distance(source.maps(source.partners, y, model=reference))
        with torch.no_grad():
            clean = reference(x).softmax(dim=1)

        def loss(maps: Tensor, logits: Tensor) -> Tensor:
            output: Tensor = (logits.softmax(dim=1) - clean).square().mean(dim=1)
            return MAP_WEIGHT / maps[0].numel() * distance(maps) + OUTPUT_WEIGHT * output

        update = adam(x, self.lr, lambda moved: moved.clamp(0, 1), input_scale(source.model))
        for point, _, _ in self.iterates(source, x, y, loss, update):
            yield point

    @staticmethod
    def _distance(other: Tensor) -> Objective:
        goal = sum_normalized(other)
        return lambda maps: (sum_normalized(maps) - goal).square().sum(dim=(1, 2))
