"""How a decision is explained: one file per explainer, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.registry import Registry

if TYPE_CHECKING:
    from explainers.base import Explainer

registry: Registry[Explainer] = Registry("explainer", "explainers")
register = registry.register
