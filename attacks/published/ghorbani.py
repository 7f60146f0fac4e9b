"""The official steps of Ghorbani et al. (AAAI 2019), which IFIA, ART and LENS took over."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import BestLegal, Objective
from attrobust.attacks.published.variants import Published, always_kept, by_variant
from attrobust.naming.checks import above_zero


@dataclass(frozen=True, kw_only=True)
class Ghorbani(Published):
    """A published attack whose official code steps along the sign of the gradient and keeps the best iterate.

    ``variant=paper``: steps of one size from the clean image, projected onto ball and box, along the gradient of a
    network whose ReLUs are a softplus of 1, far from what is scored; the iterate kept is that of lowest measure among
    those that keep the prediction, whether the threat model asks for that or not.

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
    def idle(self) -> frozenset[str]:
        """The corrected form chooses its steps itself."""
        return super().idle | (frozenset({"step"}) if self.variant == "corrected" else frozenset())

    def situation(self, context: Context) -> Context:
        """The official code's situation: it always keeps the prediction."""
        return always_kept(context)

    def start(self, context: Context, x: Tensor) -> Tensor:  # noqa: ARG002
        """Where the official code starts, B×C×H×W."""
        return x

    def descended(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """What the official code takes the gradient of."""
        return self.guide(context, x, y) or self.objective(context, x, y)

    def measure(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """What the official code keeps the lowest of."""
        return self.objective(context, x, y)

    def official(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Published.official``."""
        there = self.situation(context)
        descended = self.descended(self.source(there), x, y)
        best = BestLegal(there, x, y, self.measure(there, x, y))

        def update(current: Tensor, gradient: Tensor, _iteration: int) -> Tensor:
            return there.threat.project(x, current - self.step * gradient.sign())

        for point, maps, logits in self.iterates(
            there, self.start(there, x), y, lambda maps, _: descended(maps), update
        ):
            best.offer(point, maps, logits)
        return best.x
