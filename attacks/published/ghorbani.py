"""The official steps of Ghorbani et al. (AAAI 2019), which the codes of IFIA, ART and LENS use too."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import BestFeasible, Objective
from attrobust.attacks.published.variants import Published, always_kept, by_variant
from attrobust.naming.checks import above_zero


@dataclass(frozen=True, kw_only=True)
class Ghorbani(Published):
    """A published attack whose official code steps along the sign of the gradient and keeps the best iterate.

    ``variant=paper``: steps of one size from the clean image, projected onto ball and box, along the gradient of a
    smoothed model with a softplus of beta 1, which is far from the scored network. The result is the iterate of lowest
    measure among those that keep the prediction, whether the threat model requires that or not.

    Attributes:
        steps: iterations; the official code has 300.
        step: of the official code, in pixels.
        beta, pool, growth: see ``GradientAttack``; the official code has a softplus of 1 and max-pooling.
    """

    steps: int = by_variant(corrected=50, paper=300)
    step: float = 0.5 / 255
    beta: float | None = by_variant(corrected=None, paper=1.0)
    pool: float | None = by_variant(corrected=None, paper=0.0)
    growth: float = by_variant(corrected=10.0, paper=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "step")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Published.without_effect``; the corrected form has adaptive steps."""
        return super().without_effect | (frozenset({"step"}) if self.variant == "corrected" else frozenset())

    def situation(self, context: Context) -> Context:
        """The context of the official code, which always keeps the prediction."""
        return always_kept(context)

    def start(self, context: Context, x: Tensor) -> Tensor:  # noqa: ARG002
        """The official code's first point, B×C×H×W."""
        return x

    def descended(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """The objective that the official code differentiates."""
        return self.guide(context, x, y) or self.objective(context, x, y)

    def measure(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """The objective by which the official code chooses its best iterate."""
        return self.objective(context, x, y)

    def official(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Published.official``."""
        paper_context = self.situation(context)
        descended = self.descended(self.source(paper_context), x, y)
        best = BestFeasible(paper_context, x, y, self.measure(paper_context, x, y))

        def update(current: Tensor, gradient: Tensor, _iteration: int) -> Tensor:
            return paper_context.threat.project(x, current - self.step * gradient.sign())

        for point, maps, logits in self.iterates(
            paper_context, self.start(paper_context, x), y, lambda maps, _: descended(maps), update
        ):
            best.offer(point, maps, logits)
        return best.x
