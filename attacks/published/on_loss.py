"""Base class of attacks whose official codes attack the gradient of the cross-entropy: R2ET and ATEX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.published.maps import LossGradient
from attrobust.attacks.published.variants import LastIterate, by_variant
from attrobust.naming.checks import above_zero


@dataclass(frozen=True, kw_only=True)
class OnLoss(LastIterate):
    """A published attack whose official code attacks ``∇_x CE(f(x), y)`` in the network itself.

    Attributes:
        step: size of the official code's steps.
        differentiate, inverse_temperature, beta, pool, growth: see ``GradientAttack``; without effect on the official
            code.
    """

    step: float
    differentiate: Literal["auto", "own"] = by_variant(corrected="auto", paper="own")

    official_only: ClassVar[frozenset[str]] = frozenset({"step"})
    """Settings without effect on the corrected form."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "step")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Published.without_effect``."""
        if self.variant == "corrected":
            return super().without_effect | self.official_only
        return super().without_effect | {"differentiate", "inverse_temperature", "beta", "pool", "growth", "draws"}

    def situation(self, context: Context, reduce: Callable[[Tensor], Tensor]) -> Context:
        """The context of the official code, whose map is ``reduce`` of ``∇_x CE(f(x), y)``."""
        return replace(context, explainer=LossGradient(), reduce=reduce, surrogate=None, observer=None)
