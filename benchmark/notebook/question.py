"""What is asked of a network, and the rules by which it is answered."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Literal

from torch import nn

from attrobust.attacks.base import Attack
from attrobust.benchmark.evaluation.inputs import Rules
from attrobust.explainers.base import Explainer
from attrobust.maps.reduction import Reduction
from attrobust.metrics.base import CaseMetric
from attrobust.naming.component import Component
from attrobust.numbers import parse_number
from attrobust.threat import ThreatModel
from attrobust.types import Scope, UsageError


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every network.

    Attributes:
        explainer, attack, metrics: with all their settings.
        rules: threat model, reduction, explained class, seed, batch size.
        source_model: of a transfer attack; None where there is none.
        audit: whether flags are raised.
        progress: whether there is a bar.
    """

    explainer: Component[Explainer]
    attack: Component[Attack]
    metrics: tuple[Component[CaseMetric], ...]
    rules: Rules
    source_model: nn.Module | None = None
    audit: bool = True
    progress: bool = True

    def of(self, scope: Scope) -> list[CaseMetric]:
        """The metrics of a scope, in the order asked."""
        return [metric.item for metric in self.metrics if type(metric.item).scope == scope]


def rules_of(
    eps: float | str,
    norm: Literal["linf", "l2"],
    label: str,
    reduction: Reduction,
    seed: int,
    batch_size: int,
    *,
    keep_prediction: bool,
) -> Rules:
    """The rules of an evaluation; raises UsageError for one that there is not."""
    try:
        threat = ThreatModel(norm=norm, eps=_radius(eps), keep_prediction=keep_prediction)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if label not in ("predicted", "true"):
        raise UsageError(f"label must be 'predicted' or 'true', not {label!r}")
    if reduction not in ("abs-sum", "sum", "abs-max"):
        raise UsageError(f"reduction must be 'abs-sum', 'sum' or 'abs-max', not {reduction!r}")
    for name, number in (("batch_size", batch_size), ("seed", seed)):
        if not isinstance(number, int) or isinstance(number, bool):
            raise UsageError(f"{name} must be a whole number, not {number!r}")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    if not isinstance(keep_prediction, bool):
        raise UsageError(f"keep_prediction must be True or False, not {keep_prediction!r}")
    return Rules(threat=threat, reduction=reduction, label=label, seed=seed, batch_size=batch_size)


def _radius(eps: float | str) -> float:
    """The radius of a ball as a number; raises ValueError."""
    if isinstance(eps, str):
        return parse_number(eps)
    try:
        return float(eps)
    except OverflowError:
        raise ValueError("eps must be a number such as 8 / 255 or '8/255', not one beyond all floats") from None
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"eps must be a number such as 8 / 255 or '8/255', not {reprlib.repr(eps)}") from None
