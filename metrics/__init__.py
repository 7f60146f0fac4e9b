"""How maps are compared and judged: one file per metric, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.metrics.base import Metric

refuse_bare_name(__name__)

registry: Registry[Metric] = Registry("metric", "attrobust.metrics")
register = register_metric = registry.register
