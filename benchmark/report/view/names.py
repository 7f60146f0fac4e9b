"""Names as somebody types them: lists of labels that may hold commas, and the nearest known one to a mistake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrobust.naming.lists import refuse_empty
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

Aliases = Mapping[str, Sequence[str]]
"""By every name that something may be called, the labels that it stands for."""


def aliases(named: Iterable[tuple[str, Iterable[str]]]) -> dict[str, list[str]]:
    """By every name the labels that it stands for.

    A name that is somebody's first, as a label is, stands for that alone.

    Args:
        named: labels, each with all its names, the most precise first.
    """
    found: dict[str, list[str]] = {}
    rank: dict[str, int] = {}
    for label, names in named:
        for place, name in enumerate(dict.fromkeys(names)):
            precise = 0 if place == 0 else 1
            if name not in found or precise < rank[name]:
                found[name], rank[name] = [label], precise
            elif precise == rank[name] and label not in found[name]:
                found[name].append(label)
    return found


def split(text: str, known: Iterable[str], option: str, where: str) -> list[str]:
    """The names in a list; those that hold commas are found because they are known.

    Raises:
        UsageError: one is empty or not known; names the nearest one.
    """
    refuse_empty(text, option)
    names = set(known)
    pieces = text.split(",")
    found, start = [], 0
    while start < len(pieces):
        joined = [",".join(pieces[start:stop]).strip() for stop in range(len(pieces), start, -1)]
        match = next((name for name in joined if name in names), None)
        if match is None:
            raise unknown(pieces[start].strip(), names, option, where)
        found.append(match)
        start += len(pieces) - start - joined.index(match)
    return found


def unknown(name: str, known: Iterable[str], option: str, where: str) -> UsageError:
    """What is said of a name that nothing has."""
    names = sorted(known)
    near = did_you_mean(name, names)
    listed = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    return UsageError(f"{option}: no {name!r} in {where}.{near or f' There is {listed}.'}")


LISTED = 12
"""Names that an error lists at most."""


def assigned(
    text: str, known: Iterable[str], option: str, where: str, *, listed: Iterable[str] | None = None
) -> tuple[str, str]:
    """``OLD=NEW`` in two, where the old name may hold an equals sign itself.

    Args:
        text: as typed.
        known: the old names that there are.
        option: that it was typed behind.
        where: the names are, in words.
        listed: those that an error suggests; all where None.

    Raises:
        UsageError: there is no equals sign, nothing behind it, or nothing of this name.
    """
    names = set(known)
    splits = [(text[:at].strip(), text[at + 1 :].strip()) for at, char in enumerate(text) if char == "="]
    if not splits:
        raise UsageError(f"{option} {text!r} is not OLD=NEW")
    match = next(((old, new) for old, new in reversed(splits) if old in names), None)
    if match is None:
        raise unknown(splits[0][0], names if listed is None else listed, option, where)
    if not match[1]:
        raise UsageError(f"{option} {text!r} names nothing behind the equals sign")
    return match
