"""How a decision is explained: one file per explainer, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.explainers.base import Explainer

refuse_bare_name(__name__)

registry: Registry[Explainer] = Registry("explainer", "attrobust.explainers")
register = register_explainer = registry.register
