"""What ``--choose`` decides by: of methods a metric under an attack, above an accuracy; of explainers one of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from attrobust import attacks, explainers, metrics
from attrobust.attacks.base import Attack
from attrobust.explainers.base import Explainer
from attrobust.metrics.base import Metric
from attrobust.naming.component import Component, refuse_without_effect, resolve_one
from attrobust.naming.registry import Registry
from attrobust.naming.spec import Spec, Sweep
from attrobust.numbers import parse_number
from attrobust.types import UsageError

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


@dataclass(frozen=True, kw_only=True)
class ExplainerSweep:
    """An explainer with values in braces.

    Attributes:
        text: as typed.
        candidates: one for each combination of values.
    """

    text: str
    candidates: tuple[Component[Explainer], ...]


@dataclass(frozen=True, kw_only=True)
class ExplainerCriterion:
    """The score by which settings of explainers are compared on the validation split, over all networks of a run.

    Attributes:
        metric: of maps of clean images, whose mean decides.
        sweeps: that are chosen from.
    """

    metric: Component[Metric]
    sweeps: tuple[ExplainerSweep, ...]


def chooses(text: str, metric: Sequence[Component[Metric]]) -> Literal["methods", "explainers"]:
    """What the metric in ``METRIC[@ATTACK[@EXPLAINER]]`` chooses.

    Args:
        text: as typed after ``--choose``.
        metric: the columns of the table.

    Raises:
        UsageError: it is malformed, there is no such metric, or it is of neither.
    """
    chosen = _find(metrics.registry, _parts(text)[0], metric, Metric)
    scope = type(chosen.item).scope
    if scope not in ("attack", "map"):
        raise UsageError(
            f"--choose {text}: methods are chosen by what an attack does to maps, explainers by maps of clean images;"
            f" {chosen.name} is neither"
        )
    return "methods" if scope == "attack" else "explainers"


def make_explainer_criterion(
    text: str,
    floor: str | None,
    metric: Sequence[Component[Metric]],
    sweeps: Sequence[Sweep],
    explainer: Sequence[Component[Explainer]],
) -> ExplainerCriterion:
    """Read ``METRIC`` of maps; raises UsageError where it is malformed or there is nothing to choose from.

    Args:
        text: as typed after ``--choose``.
        floor: as typed after ``--accuracy-floor``, which has no place here.
        metric: the columns of the table.
        sweeps: of explainers, as typed.
        explainer: all of their members and the other explainers.
    """
    name, *others = _parts(text)
    chosen = _find(metrics.registry, name, metric, Metric)
    refuse_without_effect(chosen.item, Spec.parse(name))
    if others:
        raise UsageError(
            f"--choose {text}: {chosen.name} is of clean images, for every explainer in braces; write {name}"
        )
    if floor is not None:
        raise UsageError(f"--accuracy-floor is for choosing methods; {chosen.name} chooses settings of explainers")
    swept = [sweep for sweep in sweeps if sweep.is_swept]
    if not swept:
        example = "--explainers 'smoothgrad:stdev={0.05,0.1,0.2}'"
        raise UsageError(
            f"--choose {text} chooses settings of explainers; give values in braces, such as {example}."
            " Methods are chosen by what an attack does to maps, such as --choose topk"
        )
    known = {item.label: item for item in explainer}
    for sweep in swept:
        if len(sweep.specs) < 2:
            raise UsageError(f"--choose {text}: {sweep.text} has one setting; list several, or leave the braces out")
    return ExplainerCriterion(
        metric=chosen,
        sweeps=tuple(
            ExplainerSweep(text=sweep.text, candidates=tuple(known[str(spec)] for spec in sweep.specs))
            for sweep in swept
        ),
    )


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
    parts = _parts(text)
    strong = [item for item in attack if item.name != "noise"]
    if len(parts) < 2 and not strong:
        raise UsageError(f"--choose {text}: noise is the only attack; name another, {text}@ATTACK")
    chosen = _find(metrics.registry, parts[0], metric, Metric)
    refuse_without_effect(chosen.item, Spec.parse(parts[0]))
    return Criterion(
        metric=chosen,
        attack=_find(attacks.registry, parts[1], attack, Attack) if len(parts) > 1 else strong[0],
        explainer=_find(explainers.registry, parts[2], explainer, Explainer) if len(parts) > 2 else explainer[0],
        floor=None if floor is None else _accuracy(floor),
    )


def _parts(text: str) -> list[str]:
    """The words of ``METRIC[@ATTACK[@EXPLAINER]]``; raises UsageError where one is empty or there are more."""
    parts = [part.strip() for part in text.split("@")]
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"--choose {text!r} is not METRIC, METRIC@ATTACK or METRIC@ATTACK@EXPLAINER")
    return parts


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
