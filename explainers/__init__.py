"""How a decision is explained: one file per explainer, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.explainers.base import Explainer

if __name__ == "explainers":
    raise ImportError("import attrobust.explainers, not explainers: this folder is a part of attrobust")

registry: Registry[Explainer] = Registry("explainer", "attrobust.explainers")
register = register_explainer = registry.register
