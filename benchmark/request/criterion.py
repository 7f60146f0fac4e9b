"""The criterion by which the best member of a sweep is chosen: a metric under an attack, above an accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from attrobust import attacks, explainers, metrics
from attrobust.attacks.base import Attack
from attrobust.explainers.base import Explainer
from attrobust.metrics.base import Metric
from attrobust.naming.component import Component, refuse_without_effect, resolve_one
from attrobust.naming.registry import Registry
from attrobust.naming.spec import Spec
from attrobust.types import UsageError, parse_number

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """The score by which members of a sweep are compared on the validation split.

    Attributes:
        metric, attack, explainer: of the cell whose mean score decides.
        floor: clean accuracy in [0, 1] that a member must have; None for one relative to the sweep's best member.
    """

    metric: Component[Metric]
    attack: Component[Attack]
    explainer: Component[Explainer]
    floor: float | None


def make_criterion(
    text: str,
    floor: str | None,
    metric: Sequence[Component[Metric]],
    attack: Sequence[Component[Attack]],
    explainer: Sequence[Component[Explainer]],
) -> Criterion:
    """Read ``METRIC[@ATTACK[@EXPLAINER]]``; raises UsageError where it is malformed or ambiguous.

    A name without settings is the column of that name, with the column's settings; a spec that is not a column is
    resolved by itself. The default attack is the first column's that is not noise, the default explainer the first
    column's.

    Args:
        text: as typed after ``--choose``.
        floor: as typed after ``--accuracy-floor``.
        metric, attack, explainer: the columns of the table.
    """
    parts = [part.strip() for part in text.split("@")]
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"--choose {text!r} is not METRIC, METRIC@ATTACK or METRIC@ATTACK@EXPLAINER")
    strong = [item for item in attack if item.name != "noise"]
    if len(parts) < 2 and not strong:
        raise UsageError(f"--choose {text}: noise is the only attack; name another, {text}@ATTACK")
    chosen = _find(metrics.registry, parts[0], metric, Metric)
    refuse_without_effect(chosen.item, Spec.parse(parts[0]))
    if type(chosen.item).scope != "attack":
        raise UsageError(f"--choose {text}: sweeps are chosen by what an attack does to maps; {chosen.name} sees none")
    return Criterion(
        metric=chosen,
        attack=_find(attacks.registry, parts[1], attack, Attack) if len(parts) > 1 else strong[0],
        explainer=_find(explainers.registry, parts[2], explainer, Explainer) if len(parts) > 2 else explainer[0],
        floor=None if floor is None else _accuracy(floor),
    )


def _find(registry: Registry[T], text: str, columns: Sequence[Component[T]], base: type[Any]) -> Component[T]:
    typed = str(Spec.parse(text))
    matches = [item for item in columns if item.label == typed] or [item for item in columns if item.name == typed]
    if len(matches) > 1:
        raise UsageError(f"--choose {text}: which of {', '.join(item.label for item in matches)}?")
    return matches[0] if matches else resolve_one(registry, typed, base)


def _accuracy(text: str) -> float:
    try:
        value = parse_number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise UsageError(f"--accuracy-floor: {error}") from None
    if not 0 <= value <= 1:
        raise UsageError(f"--accuracy-floor {text} must be between 0 and 1, or 0% and 100%")
    return value
