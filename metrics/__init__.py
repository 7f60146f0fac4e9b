"""How two maps are compared: one file per metric, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.registry import Registry

if TYPE_CHECKING:
    from metrics.base import Similarity

registry: Registry[Similarity] = Registry("metric", "metrics")
register = registry.register
