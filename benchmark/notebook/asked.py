"""What an evaluation is asked for: names as the command line takes them, or objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from attrobust.metrics import registry as metrics
from attrobust.metrics.base import CaseMetric, Metric
from attrobust.metrics.shared.retraining import RetrainingMetric
from attrobust.naming.component import Component, resolve, resolve_one
from attrobust.naming.registry import Registry
from attrobust.naming.spec import Spec, parse_specs, settings_of
from attrobust.types import UsageError

T = TypeVar("T")


def component(registry: Registry[T], asked: str | T, base: type[Any]) -> Component[T]:
    """The component of a name with settings, or of an object.

    Args:
        registry: of the axis.
        asked: as typed, e.g. ``"topk:steps=30"``, or an instance.
        base: the contract an instance fulfils.

    Raises:
        UsageError: an unknown name, wrong settings, or something else.
    """
    if isinstance(asked, str):
        return resolve_one(registry, asked, base)
    if not isinstance(asked, base):
        kind = asked.__name__ if isinstance(asked, type) else type(asked).__name__
        hint = f"; give an instance: {kind}(…)" if isinstance(asked, type) and issubclass(asked, base) else ""
        raise UsageError(
            f"{registry.kind} must be a name such as {registry.names()[0]!r} or an attrobust.{base.__name__}, "
            f"not {kind}{hint}"
        )
    name = _name(registry, asked)
    typed = Spec(name, {key: str(value) for key, value in _changed(asked).items()})
    return Component(name, asked, str(typed))


def metrics_of(asked: str | Metric | Sequence[str | Metric]) -> tuple[Component[CaseMetric], ...]:
    """The metrics of a list of names or of objects.

    Args:
        asked: ``"topk:k=5%,spearman"``, an instance, or several of either.

    Raises:
        UsageError: none, two that are the same, one that trains networks, or see ``component``.
    """
    if isinstance(asked, str):
        found = resolve(metrics, parse_specs(asked, "metrics"), Metric)
    elif isinstance(asked, Metric) or not isinstance(asked, Sequence):
        found = [component(metrics, asked, Metric)]
    else:
        found = [component(metrics, item, Metric) for item in asked]
    if not found:
        raise UsageError("name a metric, e.g. metrics='topk,spearman'")
    chosen: list[Component[CaseMetric]] = []
    for metric in found:
        if isinstance(metric.item, RetrainingMetric):
            raise UsageError(f"{metric.label} trains networks anew, on a dataset; use run_benchmark.py")
        if not isinstance(metric.item, CaseMetric):
            raise UsageError(f"{metric.label} is neither a Similarity nor a Quality")
        if any(metric.canonical == other.canonical for other in chosen):
            raise UsageError(f"metrics names {metric.label} twice")
        chosen.append(Component(metric.name, metric.item, metric.label))
    return tuple(chosen)


def _name(registry: Registry[T], item: T) -> str:
    """The registered name of an instance; that of its class where it is not registered."""
    target = f"{type(item).__module__}:{type(item).__qualname__}"
    return next((entry.name for entry in registry.entries() if entry.target == target), type(item).__name__)


def _changed(item: Any) -> dict[str, Any]:
    """The settings of an instance that are not those of its class without any; all where the class needs some."""
    settings = settings_of(item)
    try:
        usual = settings_of(type(item)())
    except TypeError:
        return settings
    return {key: value for key, value in settings.items() if value != usual[key]}
