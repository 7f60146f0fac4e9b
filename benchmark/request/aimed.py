"""Attacks whose settings depend on what a run measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attrobust.attacks.base import Attack
from attrobust.metrics.base import Metric
from attrobust.naming.component import Component
from attrobust.naming.spec import Spec, settings_of
from attrobust.types import UsageError


def all_aimed(attacks: Sequence[Component[Attack]], measured: Sequence[Component[Metric]]) -> list[Component[Attack]]:
    """The attacks of a run, see ``aimed``; raises UsageError where two come to the same."""
    found = [aimed(attack, measured) for attack in attacks]
    for index, attack in enumerate(found):
        if attack.canonical in [other.canonical for other in found[:index]]:
            raise UsageError(f"two attacks are {attack.label}, which descends what the run measures; name one of them")
    return found


def aimed(attack: Component[Attack], measured: Sequence[Component[Metric]]) -> Component[Attack]:
    """The attack with the settings that depend on what is measured; its label says which these are."""
    item = attack.item.aimed_at([metric.canonical for metric in measured])
    before = settings_of(attack.item)
    changed = {key: str(value) for key, value in settings_of(item).items() if value != before[key]}
    if not changed:
        return attack
    typed = Spec.parse(attack.label)
    return replace(attack, item=item, label=str(Spec(attack.name, {**typed.settings, **changed})))
