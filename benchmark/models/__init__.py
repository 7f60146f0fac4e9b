"""The networks: one file per architecture, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.registry import Registry

if TYPE_CHECKING:
    from benchmark.models.base import ModelFamily

registry: Registry[ModelFamily] = Registry("model", "benchmark.models")
register = registry.register
