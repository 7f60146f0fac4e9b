"""What the label of a component has to say, so that a table can be held to its rows when no class is at hand."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from attrobust.benchmark.request.methods import Defaults, resolve_methods
from attrobust.benchmark.store.rows import Ways
from attrobust.methods.base import Method
from attrobust.naming.component import Component
from attrobust.naming.spec import Spec, build, settings_of
from attrobust.types import Settings, UsageError


def wording(component: Component[Any]) -> Ways:
    """The settings of a component that are not its class's defaults; for each preset those that it does not set."""
    cls, own = type(component.item), settings_of(component.item)
    typed = Spec.parse(component.label).settings
    presets: Mapping[str, Mapping[str, str]] = getattr(cls, "presets", {})
    plain = [key for key in _unlike(own, cls, {}) if key in typed or "preset" in typed]
    ways = [tuple(plain)]
    ways += [(f"preset={name}", *_unlike(own, cls, settings)) for name, settings in presets.items()]
    return tuple(ways)


def method_wording(method: Component[Method], defaults: Defaults) -> Ways:
    """The typed settings of a method without which it would be another, with the defaults of recipe and card."""
    spec = Spec.parse(method.label)
    needed = []
    for key in spec.settings:
        rest = {name: value for name, value in spec.settings.items() if name != key}
        try:
            (without,) = resolve_methods([Spec(spec.name, rest)], defaults)
        except UsageError:
            without = None
        if without is None or without.canonical != method.canonical:
            needed.append(key)
    return (tuple(needed),)


def _unlike(settings: Settings, cls: Any, typed: Mapping[str, str]) -> list[str]:
    """The settings that are others than those of the class given what is typed; all where that is too little."""
    silent = _silent(cls, tuple(typed.items()))
    return [key for key, value in settings.items() if silent is None or silent[key] != value]


@functools.cache
def _silent(cls: Any, typed: tuple[tuple[str, str], ...]) -> Settings | None:
    """The settings of a class where no more is typed; None where that is too little."""
    try:
        return settings_of(build(cls, Spec("", dict(typed))))
    except UsageError:
        return None
