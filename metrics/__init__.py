"""How maps are compared and judged: one file per metric, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.metrics.base import Metric

if __name__ == "metrics":
    raise ImportError("import attrobust.metrics, not metrics: this folder is a part of attrobust")

registry: Registry[Metric] = Registry("metric", "attrobust.metrics")
register = register_metric = registry.register
