"""Specs to instances: every name and setting is checked here, before anything is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from attrobust.naming.registry import Registry
from attrobust.naming.spec import Spec, build, canonical, fingerprint
from attrobust.naming.suggest import did_you_mean, refuse_old_attributes
from attrobust.types import Named, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Component(Generic[T]):
    """An instance of a registered class, with its name.

    Attributes:
        name: registered name.
        item: the instance.
        label: as it was typed, e.g. ``topk:steps=30``.
    """

    name: str
    item: T
    label: str

    @property
    def canonical(self) -> Named:
        """Name and every setting, as JSON values."""
        return canonical(self.name, self.item)


def resolve(
    registry: Registry[T],
    specs: Sequence[Spec],
    base: type[Any],
    defaults: Callable[[Spec], Mapping[str, str]] | None = None,
) -> list[Component[T]]:
    """The instances that specs stand for, in their order.

    Args:
        registry: of the axis.
        specs: as typed.
        base: the contract an instance must fulfil.
        defaults: settings used where a spec is silent.

    Raises:
        UsageError: unknown name or setting, a bad value, or two specs that mean the same.
    """
    for spec in specs:
        registry.check(spec.name)
    found: dict[str, Component[T]] = {}
    for spec in specs:
        cls = registry.get(spec.name)
        if not (isinstance(cls, type) and issubclass(cls, base) and dataclasses.is_dataclass(cls)):
            what = f"{registry.kind} {spec.name!r} of {registry.origin(spec.name)}"
            raise UsageError(f"{what} must be a dataclass derived from {base.__name__}")
        refuse_old_attributes(cls, f"{registry.kind} {spec.name!r} of {registry.origin(spec.name)}")
        item: T = build(cls, *_unfolded(cls, spec, dict(defaults(spec) if defaults else {})))
        component = Component(spec.name, item, str(spec))
        key = fingerprint(component.canonical)
        if key in found:
            raise UsageError(f"{registry.kind} {spec} is the same as {found[key].label}; name it once")
        found[key] = component
    return list(found.values())


def _unfolded(cls: type[Any], spec: Spec, silent: dict[str, str]) -> tuple[Spec, dict[str, str]]:
    """A spec without its ``preset``, and the defaults with the preset's settings added.

    Raises:
        UsageError: the class has presets, but none of that name.
    """
    presets: Mapping[str, Mapping[str, str]] = getattr(cls, "presets", {})
    if "preset" not in spec.settings or not presets:
        return spec, silent
    name = spec.settings["preset"]
    if name not in presets:
        hint = did_you_mean(name, presets)
        raise UsageError(f"{spec.name} has no preset {name!r}.{hint} Known: {', '.join(presets)}")
    rest = {key: value for key, value in spec.settings.items() if key != "preset"}
    return Spec(spec.name, rest), {**silent, **presets[name]}


class SettingsWithoutEffect(Protocol):
    """An item some of whose settings may have no effect beside the others."""

    @property
    def without_effect(self) -> frozenset[str]:
        """Names of the settings without effect."""


def refuse_without_effect(item: SettingsWithoutEffect, spec: Spec) -> None:
    """Raise UsageError where the spec has a setting without effect."""
    for key in spec.settings:
        if key in item.without_effect:
            raise UsageError(f"{spec}: {key} changes nothing beside the other settings; leave it out")


def resolve_one(registry: Registry[T], text: str, base: type[Any]) -> Component[T]:
    """The instance a single spec names; raises UsageError."""
    return resolve(registry, [Spec.parse(text)], base)[0]
