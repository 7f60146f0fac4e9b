"""How an explanation is attacked: one file per attack, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry
from attrobust.places import refuse_bare_name

if TYPE_CHECKING:
    from attrobust.attacks.base import Attack

refuse_bare_name(__name__)

registry: Registry[Attack] = Registry("attack", "attrobust.attacks")
register = register_attack = registry.register
