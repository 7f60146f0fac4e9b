"""Architectures: one file per architecture, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.benchmark.models.base import ModelFamily

registry: Registry[ModelFamily] = Registry("model", "attrobust.benchmark.models")
M = TypeVar("M", bound="ModelFamily")


def register(name: str) -> Callable[[type[M]], type[M]]:
    """Decorator that enters a model under ``name``; raises UsageError where another class holds the name."""
    return registry.register(name)


register_model = register
