"""How an explanation is attacked: one file per attack, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrobust.registry import Registry

if TYPE_CHECKING:
    from attacks.base import Attack

registry: Registry[Attack] = Registry("attack", "attacks")
register = registry.register
