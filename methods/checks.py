"""What settings of methods must be, said in one way."""

from __future__ import annotations

from typing import Any


def not_negative(method: Any, *names: str) -> None:
    """Raise ValueError where one of a method's numbers is below 0."""
    for name in names:
        if not getattr(method, name) >= 0:
            raise ValueError(f"{name}={getattr(method, name):g} must not be negative")


def above_zero(method: Any, *names: str) -> None:
    """Raise ValueError where one of a method's numbers is 0 or less; None is nothing to complain about."""
    for name in names:
        value = getattr(method, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value:g} must be above 0")


def at_least(least: int, method: Any, *names: str) -> None:
    """Raise ValueError where one of a method's counts is too small; None is nothing to complain about."""
    for name in names:
        value = getattr(method, name)
        if value is not None and value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
