"""How a model is trained: one file per method, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.methods.base import Method

refuse_bare_name(__name__)

registry: Registry[Method] = Registry("method", "attrobust.methods")
register = register_method = registry.register
