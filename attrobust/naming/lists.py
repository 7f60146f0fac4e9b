"""Lists of names, separated by commas, as somebody types them."""

from __future__ import annotations

from attrobust.types import UsageError


def refuse_empty(text: str, option: str) -> None:
    """Raise UsageError where a list is empty, or has nothing between two of its commas.

    Args:
        text: as typed.
        option: that it was typed behind.
    """
    names = [name.strip() for name in text.split(",")]
    if not any(names):
        raise UsageError(f"{option} is empty; name something, or leave it out")
    if not all(names):
        raise UsageError(f"{option} {text!r} has an empty name beside a comma")


def listed(text: str, option: str) -> list[str]:
    """The names in a list, each once; none where the option was left out, of which the text is empty.

    Raises:
        UsageError: see ``refuse_empty``.
    """
    if not text:
        return []
    refuse_empty(text, option)
    return list(dict.fromkeys(name.strip() for name in text.split(",")))
