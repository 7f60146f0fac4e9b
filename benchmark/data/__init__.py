"""The images: one file per dataset, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.benchmark.data.base import Dataset

registry: Registry[Dataset] = Registry("dataset", "attrobust.benchmark.data")
register = register_dataset = registry.register
