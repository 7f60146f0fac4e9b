"""The networks: one file per architecture, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.benchmark.models.base import ModelFamily

registry: Registry[ModelFamily] = Registry("model", "attrobust.benchmark.models")
register = register_model = registry.register
