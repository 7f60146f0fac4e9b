"""The images: one file per dataset, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.registry import Registry

if TYPE_CHECKING:
    from benchmark.data.base import Dataset

registry: Registry[Dataset] = Registry("dataset", "benchmark.data")
register = registry.register
