"""How an explanation is attacked: one file per attack, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.naming.registry import Registry

if TYPE_CHECKING:
    from attrobust.attacks.base import Attack

if __name__ == "attacks":
    raise ImportError("import attrobust.attacks, not attacks: this folder is a part of attrobust")

registry: Registry[Attack] = Registry("attack", "attrobust.attacks")
register = register_attack = registry.register
