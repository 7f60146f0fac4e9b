"""How a model is trained: one file per method, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.registry import Registry

if TYPE_CHECKING:
    from methods.base import Method

registry: Registry[Method] = Registry("method", "methods")
register = registry.register
