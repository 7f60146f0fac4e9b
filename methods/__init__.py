"""How a model is trained: one file per method, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.methods.base import Method

if __name__ == "methods":
    raise ImportError("import attrobust.methods, not methods: this folder is a part of attrobust")

registry: Registry[Method] = Registry("method", "attrobust.methods")
register = register_method = registry.register
