"""How maps are compared and judged: one file per metric, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.registry import Registry

if TYPE_CHECKING:
    from metrics.base import Metric

registry: Registry[Metric] = Registry("metric", "metrics")
register = registry.register
