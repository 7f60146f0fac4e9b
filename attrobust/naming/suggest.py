"""The nearest known word to a mistyped one, and what an older word is called now."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from attrobust.types import UsageError

RENAMED = {
    "controls": "baselines",
    "view": "differentiate",
    "sharpness": "inverse_temperature",
}
"""Settings and options by the names they had before."""
ATTRIBUTES = {
    "curved": "varies_within_region",
    "idle": "without_effect",
    "donor": "source_model",
    "conduct": "evaluate",
}
"""Attributes of the contracts by the names they had before."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'aga'?`` with a leading space, or the empty string where nothing is near."""
    names = list(known)
    if RENAMED.get(word) in names:
        return f" It is now called {RENAMED[word]!r}."
    # A name that was typed without its settings is near the one that has them.
    whole = {name.partition(":")[0]: name for name in reversed(names)} | {name: name for name in names}
    close = difflib.get_close_matches(word, whole, n=1)
    return f" Did you mean {whole[close[0]]!r}?" if close else ""


def refuse_old_attributes(cls: type, what: str) -> None:
    """Raise UsageError where a class defines an attribute of a contract by its former name, which nothing reads."""
    for owner in cls.__mro__:
        for old, new in ATTRIBUTES.items():
            if old in vars(owner) and hasattr(cls, new):
                raise UsageError(f"{what}: {old} is now called {new}; rename it in {owner.__name__}")
