"""Attacks: one file per attack, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.attacks.base import Attack

refuse_bare_name(__name__)

registry: Registry[Attack] = Registry("attack", "attrobust.attacks")
A = TypeVar("A", bound="Attack")


def register(name: str) -> Callable[[type[A]], type[A]]:
    """Decorator that enters an attack under ``name``; raises UsageError where another class holds the name."""
    return registry.register(name)


register_attack = register
