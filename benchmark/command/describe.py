"""``--list methods:aga``: describes one entry, with its settings and, for a method, its card."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from typing import Any

from attrobust.benchmark.training.recipe import FOLDER, load_recipe
from attrobust.methods.base import Method
from attrobust.naming.registry import Registry
from attrobust.naming.spec import settings_of
from attrobust.naming.toml import shipped_names
from attrobust.threat import format_eps
from attrobust.types import Card, UsageError

WIDTH = 112


def describe(registry: Registry[Any], name: str) -> str:
    """The text of ``--list AXIS:NAME``: documentation, settings with defaults, and a method's card.

    Raises:
        UsageError: unknown name, or a plug-in that does not load.
    """
    cls = registry.get(name)
    lines = [f"{registry.kind} {name}", "", inspect.getdoc(cls) or "(no documentation)"]
    if dataclasses.is_dataclass(cls):
        try:
            instance = cls()
        except (TypeError, ValueError) as error:
            raise UsageError(f"{registry.kind} {name!r} has no defaults: {error}") from error
        settings = ",".join(f"{key}={typed(key, value)}" for key, value in settings_of(instance).items())
        lines += ["", *_entry("defaults", f"{name}:{settings}" if settings else f"{name} has no settings")]
        for preset, values in getattr(cls, "presets", {}).items():
            lines += _entry("preset", f"{preset}: " + ",".join(f"{key}={value}" for key, value in values.items()))
        lines += _card(instance)
        if isinstance(instance, Method):
            for recipe in shipped_names(FOLDER):
                settings = ",".join(
                    f"{key}={value}" for key, value in load_recipe(recipe).methods.get(name, {}).items()
                )
                lines += _entry("recipe", f"{recipe}: {settings}" if settings else "")
    return "\n".join(lines) + "\n"


def _card(instance: Any) -> list[str]:
    card = getattr(instance, "card", None)
    if not isinstance(card, Card):
        return []
    source = ", ".join(
        part for part in (card.authors, str(card.year or ""), card.arxiv and f"arXiv {card.arxiv}") if part
    )
    lines = _entry("paper", f"{card.title} ({source})" if source else card.title)
    lines += _entry("loss", card.equation)
    cost = instance.cost(classes=10)
    lines += _entry(
        "cost", f"{cost} a batch, for ten classes: F forward, B backward, H double backward" if cost else ""
    )
    lines += _entry("starts", f"from {instance.start}")
    for place, values in card.settings.items():
        lines += _entry("published", f"{place}: " + ",".join(f"{key}={value}" for key, value in values.items()))
    return lines + _entry("note", card.note)


def _entry(title: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{title:<10}",
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )


def typed(key: str, value: Any) -> str:
    """A setting as it would be typed, with sizes of perturbations as fractions of 255."""
    if key in ("eps", "step", "reach") and isinstance(value, float):
        return format_eps(value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, "g") if isinstance(value, float) else str(value)
