"""The two variants of a published attack: corrected, and as its authors' code behaves."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.adaptive import AdaptiveDescent

Variant = Literal["corrected", "paper"]


@dataclass(frozen=True)
class ByVariant:
    """A default that depends on the variant.

    Attributes:
        corrected, paper: the defaults.
    """

    corrected: object
    paper: object


def by_variant(*, corrected: object, paper: object) -> Any:
    """A default that depends on the variant, for a field of any type; ``settle`` resolves it."""
    return ByVariant(corrected, paper)


class HasVariants(Protocol):
    """A dataclass with a variant, some of whose settings may have no effect in it."""

    @property
    def variant(self) -> Variant:
        """``corrected`` or ``paper``."""

    @property
    def without_effect(self) -> frozenset[str]:
        """Settings without effect in this variant."""


def settle(attack: HasVariants) -> None:
    """Give every setting that was not typed its variant's default; for a frozen dataclass's ``__post_init__``.

    Raises:
        ValueError: no such variant, or a setting was changed that has no effect in this one.
    """
    if attack.variant not in ("corrected", "paper"):
        raise ValueError(f"variant must be corrected or paper, not {attack.variant!r}")
    for item in fields(attack):  # type: ignore[arg-type]  # a protocol cannot ask for a dataclass
        default, value = item.default, getattr(attack, item.name)
        if isinstance(default, ByVariant):
            default = getattr(default, attack.variant)
            value = default if isinstance(value, ByVariant) else value
            object.__setattr__(attack, item.name, value)
        if item.name in attack.without_effect and value != default:
            raise ValueError(f"{item.name} has no effect with variant={attack.variant}")


def always_kept(context: Context) -> Context:
    """The context with the prediction to be kept, whatever its threat model says."""
    return replace(context, threat=replace(context.threat, keep_prediction=True))


@dataclass(frozen=True, kw_only=True)
class Published(AdaptiveDescent):
    """An attack from a paper, with the paper's objective.

    By default it is corrected: an adaptive descent from random starts in the ball and the box, which differentiates a
    smoothed model, keeps the prediction as a hard constraint, and chooses the best iterate by the scored map. With
    ``variant=paper`` it behaves as the official code does, mistakes included. The harness projects the result of either
    onto ball and box and checks it, so that a changed prediction counts as no attack.

    Attributes:
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    variant: Variant = "corrected"

    def __post_init__(self) -> None:
        settle(self)
        super().__post_init__()

    @property
    def without_effect(self) -> frozenset[str]:
        """Settings without effect in this variant; official codes have one start."""
        return frozenset({"restarts"}) if self.variant == "paper" else frozenset()

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        return super().run(context, x, y) if self.variant == "corrected" else self.official(context, x, y)

    @abstractmethod
    def official(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The official code's result, B×C×H×W; arguments as for ``run``."""


@dataclass(frozen=True, kw_only=True)
class LastIterate(Published):
    """A published attack whose official code returns the last iterate, whatever is predicted there."""

    def official(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Published.official``."""
        return deque(self.trajectory(context, x, y), maxlen=1).pop()

    @abstractmethod
    def trajectory(self, context: Context, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """Every point of the official descent, the start and the last included; arguments as for ``run``."""
