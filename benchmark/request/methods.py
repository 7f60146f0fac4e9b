"""The methods of a run: what was typed of each, and where the settings come from that were not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attrobust.attacks.base import Attack
from attrobust.benchmark.training.recipe import Recipe
from attrobust.methods import registry
from attrobust.methods.base import SCRATCH, Method
from attrobust.naming.component import Component, refuse_idle, resolve
from attrobust.naming.spec import Spec
from attrobust.types import Card, UsageError


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Settings of methods where the command line is silent: the recipe's, then those of a method's card.

    Attributes:
        recipe: of training.
        dataset, model: registered names.
    """

    recipe: Recipe
    dataset: str
    model: str

    def __call__(self, spec: Spec) -> dict[str, str]:
        """For one method as typed. A step goes with the ball it was stated for, not with another."""
        card: Card = getattr(registry.get(spec.name), "card", Card())
        found: dict[str, str] = {}
        for settings in (card.settings_for(self.dataset, self.model), self.recipe.methods.get(spec.name, {})):
            found = {**_without_step(found, settings), **settings}
        return _without_step(found, spec.settings)


def _without_step(found: dict[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Settings less the step, where the ball or the number of steps changes."""
    if not {"eps", "norm", "steps"} & set(changes):
        return found
    return {key: value for key, value in found.items() if key != "step"}


def resolve_methods(specs: Sequence[Spec], defaults: Defaults) -> list[Component[Method]]:
    """Methods with all their settings.

    Raises:
        UsageError: unknown name or setting, a bad value, two that mean the same, an l2 ball with the radius of a cube,
            or a setting that changes nothing.
    """
    found = resolve(registry, specs, Method, defaults)
    for spec, component in zip(specs, found, strict=True):
        fields = {item.name for item in dataclasses.fields(component.item)}
        if spec.settings.get("norm") == "l2" and "eps" in fields and "eps" not in spec.settings:
            raise UsageError(f"{component.label}: type eps too; that of linf, per pixel, is no radius for norm=l2")
        refuse_idle(component.item, spec)
    return found


def resolve_starts(found: Sequence[Component[Method]], defaults: Defaults) -> dict[str, Component[Method]]:
    """By name, the methods whose trained weights others go on from.

    Raises:
        UsageError: no such method, or one that goes on from trained weights itself; says whose ``start`` it is.
    """
    starts: dict[str, Component[Method]] = {}
    for component in found:
        name = component.item.start
        if name == SCRATCH or name in starts:
            continue
        try:
            (starts[name],) = resolve_methods([Spec.parse(name)], defaults)
        except UsageError as error:
            raise UsageError(f"{component.label}: start={name}: {error}") from error
        if starts[name].item.start != SCRATCH:
            raise UsageError(f"{component.label}: start={name} goes on from trained weights itself; use start=natural")
    return starts


def resolve_donors(found: Sequence[Component[Attack]], defaults: Defaults) -> dict[str, Component[Method]]:
    """By what attacks call them, the methods whose trained networks they need.

    Raises:
        UsageError: no such method; says whose donor it is.
    """
    donors: dict[str, Component[Method]] = {}
    for component in found:
        name = component.item.donor
        if not name or name in donors:
            continue
        try:
            (donors[name],) = resolve_methods([Spec.parse(name)], defaults)
        except UsageError as error:
            raise UsageError(f"{component.label}: donor {name}: {error}") from error
    return donors
