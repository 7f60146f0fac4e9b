"""Datasets: one file per dataset, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.benchmark.data.base import Dataset

registry: Registry[Dataset] = Registry("dataset", "attrobust.benchmark.data")
D = TypeVar("D", bound="Dataset")


def register(name: str) -> Callable[[type[D]], type[D]]:
    """Decorator that enters a dataset under ``name``; raises UsageError where another class holds the name."""
    return registry.register(name)


register_dataset = register
