"""Range checks for settings, with one wording of errors."""

from __future__ import annotations

from typing import Any


def not_negative(item: Any, *names: str) -> None:
    """Raise ValueError where one of the named attributes is below 0."""
    for name in names:
        if not getattr(item, name) >= 0:
            raise ValueError(f"{name}={getattr(item, name):g} must not be negative")


def above_zero(item: Any, *names: str) -> None:
    """Raise ValueError where one of the named attributes is 0 or less; None passes."""
    for name in names:
        value = getattr(item, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, not {value:g}")


def at_least(least: int, item: Any, *names: str) -> None:
    """Raise ValueError where one of the named attributes is below ``least``; None passes."""
    for name in names:
        value = getattr(item, name)
        if value is not None and value < least:
            raise ValueError(f"{name}={value} must be at least {least}")


def in_pixel_units(item: Any, *names: str) -> None:
    """Raise ValueError where one of the named attributes is above 1, the range of a pixel."""
    for name in names:
        if getattr(item, name) > 1:
            raise ValueError(f"{name}={getattr(item, name):g} must be at most 1 in pixel units (write 8/255, not 8)")
