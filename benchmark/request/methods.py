"""Resolves the methods of a run, with defaults from the recipe and from the methods' cards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attrobust.attacks.base import Attack
from attrobust.benchmark.training.recipe import Recipe
from attrobust.methods import registry
from attrobust.methods.base import SCRATCH, Method
from attrobust.naming.component import Component, refuse_without_effect, resolve
from attrobust.naming.spec import Spec
from attrobust.types import Card, UsageError


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Settings of methods that are not typed: the recipe's, then those of the method's card.

    Attributes:
        recipe: of training.
        dataset, model: registered names.
    """

    recipe: Recipe
    dataset: str
    model: str

    def __call__(self, spec: Spec) -> dict[str, str]:
        """The defaults of one method as typed; without a step that was stated for another ball or number of steps."""
        card: Card = getattr(registry.get(spec.name), "card", Card())
        defaults: dict[str, str] = {}
        for settings in (card.settings_for(self.dataset, self.model), self.recipe.methods.get(spec.name, {})):
            defaults = {**_without_step(defaults, settings), **settings}
        return _without_step(defaults, spec.settings)


def _without_step(settings: dict[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Settings without the step, where the ball or the number of steps changes."""
    if not {"eps", "norm", "steps"} & set(changes):
        return settings
    return {key: value for key, value in settings.items() if key != "step"}


def resolve_methods(specs: Sequence[Spec], defaults: Defaults) -> list[Component[Method]]:
    """Methods with all their settings.

    Raises:
        UsageError: unknown name or setting, a bad value, two that mean the same, norm=l2 with the default eps, which is
            for linf, or a setting without effect.
    """
    components = resolve(registry, specs, Method, defaults)
    for spec, component in zip(specs, components, strict=True):
        fields = {item.name for item in dataclasses.fields(component.item)}
        if spec.settings.get("norm") == "l2" and "eps" in fields and "eps" not in spec.settings:
            raise UsageError(f"{component.label}: type eps too; that of linf, per pixel, is no radius for norm=l2")
        refuse_without_effect(component.item, spec)
    return components


def resolve_starts(components: Sequence[Component[Method]], defaults: Defaults) -> dict[str, Component[Method]]:
    """By name, the methods whose trained weights the given methods start from.

    Raises:
        UsageError: no such method, or one that starts from trained weights itself; names the method whose ``start`` it
            is.
    """
    starts: dict[str, Component[Method]] = {}
    for component in components:
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


def resolve_source_models(components: Sequence[Component[Attack]], defaults: Defaults) -> dict[str, Component[Method]]:
    """By name, the methods that train the source models of transfer attacks.

    Raises:
        UsageError: no such method; names the attack.
    """
    source_models: dict[str, Component[Method]] = {}
    for component in components:
        name = component.item.source_model
        if not name or name in source_models:
            continue
        try:
            (source_models[name],) = resolve_methods([Spec.parse(name)], defaults)
        except UsageError as error:
            raise UsageError(f"{component.label}: source model {name}: {error}") from error
    return source_models
