"""``--list checkpoints``: the weights that come with attrobust, and the whole card of one. Imports no torch."""

from __future__ import annotations

import textwrap
from typing import Any

from attrobust.benchmark.checkpoints.card import WeightCard, checkpoints, shipped_path
from attrobust.benchmark.training.recipe import tuning_epochs
from attrobust.files import size_words
from attrobust.types import Settings, percent

COLUMNS = ("name", "dataset", "model", "method", "test accuracy", "epochs", "seed", "size", "sha256", "licence")
TO_THE_RIGHT = ("test accuracy", "epochs", "seed", "size")
WIDTH = 112
CHOSEN = ", of highest accuracy on the validation split"
PREFIX = 12
"""Digits of a hash that are shown."""


def checkpoint_table() -> list[str]:
    """A line of titles and one for each checkpoint, in aligned columns."""
    rows = [COLUMNS, *(_row(name, card) for name, card in checkpoints().items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_aligned, COLUMNS, row, widths)).rstrip() for row in rows]


def whole_card(name: str) -> str:
    """All facts about one checkpoint; raises UsageError, with the nearest names, for an unknown one."""
    card = WeightCard.read(shipped_path(name))
    published = card.published
    facts = {
        "warning": f"its maps are manipulated: {card.manipulation}. It is no defence" if card.manipulation else "",
        "method": "none" if card.manipulation else _spec(card.method["name"], card.method["settings"]),
        "model": _spec(card.model["name"], card.model["settings"]),
        "dataset": _spec(card.dataset["name"], card.dataset["settings"]),
        "images": f"{card.images.channels}×{card.images.size}×{card.images.size}, {card.images.classes} classes",
        "recipe": _pairs(card.recipe),
        "starts": f"from {_spec(card.start['name'], card.start['settings'])}" if card.start else "",
        "seed": str(card.seed),
        "epoch": f"{card.epoch} of {_epochs(card)}{CHOSEN if not card.manipulation else ''}",
        "accuracy": f"{percent(card.val_accuracy, '.2f')} on the validation split",
    }
    if published is not None:
        facts["accuracy"] += f", {percent(published.test_accuracy, '.2f')} on all {published.test_images:,} test images"
        facts |= {
            "weights": f"{size_words(published.size)}, {published.precision}, version {published.version}",
            "url": published.url,
            "commit": published.commit,
        }
    facts |= {
        "sha256": card.sha256,
        "licence": card.licence,
        "code": f"{card.code} (digest of the training sources)",
        "versions": _pairs(card.versions),
        "python": f'attrobust.load("{name}")',
    }
    lines = [f"checkpoint {name}", "", *(line for key, text in facts.items() for line in _wrapped(key, text))]
    return "\n".join(lines) + "\n"


def _row(name: str, card: WeightCard) -> tuple[str, ...]:
    published = card.published
    return (
        name,
        card.dataset["name"],
        card.model["name"],
        "manipulated" if card.manipulation else card.method["name"],
        percent(published.test_accuracy, ".2f") if published else "",
        str(_epochs(card)),
        str(card.seed),
        size_words(published.size) if published else "",
        card.sha256[:PREFIX],
        card.licence,
    )


def _epochs(card: WeightCard) -> int:
    """Length of the training, without that of the weights that it started from."""
    epochs: int = card.recipe["epochs"]
    return tuning_epochs(epochs, card.recipe["tuning_epochs"]) if card.start else epochs


def _wrapped(title: str, text: str) -> list[str]:
    """A fact in lines of some length, broken at spaces and after commas."""
    lines = textwrap.wrap(
        text.replace(",", ", ").replace(",  ", ", "),
        WIDTH,
        initial_indent=f"{title:<10}",
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines if text else []


def _aligned(title: str, text: str, width: int) -> str:
    return text.rjust(width) if title in TO_THE_RIGHT else text.ljust(width)


def _spec(name: str, settings: Settings) -> str:
    return f"{name}:{_pairs(settings)}" if settings else name


def _pairs(settings: Settings) -> str:
    return ",".join(f"{key}={_typed(value)}" for key, value in settings.items())


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, "g") if isinstance(value, float) else str(value)
