"""Metrics: one file per metric, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.metrics.base import Metric

refuse_bare_name(__name__)

registry: Registry[Metric] = Registry("metric", "attrobust.metrics")
M = TypeVar("M", bound="Metric")


def register(name: str) -> Callable[[type[M]], type[M]]:
    """Decorator that enters a metric under ``name``; raises UsageError where another class holds the name."""
    return registry.register(name)


register_metric = register
