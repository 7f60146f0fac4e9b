"""Explainers: one file per explainer, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.explainers.base import Explainer

refuse_bare_name(__name__)

registry: Registry[Explainer] = Registry("explainer", "attrobust.explainers")
E = TypeVar("E", bound="Explainer")


def register(name: str) -> Callable[[type[E]], type[E]]:
    """Decorator that enters an explainer under ``name``; raises UsageError where another class holds the name."""
    return registry.register(name)


register_explainer = register
