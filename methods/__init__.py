"""Training methods: one file per method, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.methods.base import Method

refuse_bare_name(__name__)

registry: Registry[Method] = Registry("method", "attrobust.methods")
M = TypeVar("M", bound="Method")


def register(name: str) -> Callable[[type[M]], type[M]]:
    """Decorator that enters a method under ``name``; raises UsageError where another class holds the name."""
    return registry.register(name)


register_method = register
