"""The one validator of what is read from files: JSON and TOML values, held to the types that the code declares.

``msgspec`` does the checking; it is imported on first use, so that commands that read no file do not wait for it.
"""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union

MESSAGE = re.compile(r"(?P<said>.*?)(?: - at `\$(?P<place>[^`]*)`)?", re.DOTALL)
WORDS = {"array": "list", "object": "dict", "null": "None"}
"""What JSON calls otherwise than Python."""
LONGEST = 60
"""Characters of a value that errors quote."""

hints_of: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)
"""The types of a class's fields, by name; evaluated once for each class, since their text has to be compiled."""

Place = Sequence[str]
"""Keys and positions that lead to a value; ``...`` stands for a key of a dict that is open."""


class MisfitError(ValueError):
    """A value that is not of its type.

    Attributes:
        place: e.g. ``entries.3.row``; empty for the whole value.
        problem: what is wrong there, e.g. ``is missing``.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place} {problem}".strip())
        self.place, self.problem = place, problem


def parsed(data: bytes) -> Any:
    """The values of a JSON document; raises ValueError where it is none."""
    import msgspec

    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def validated(value: Any, kind: Any) -> Any:
    """A JSON or TOML value as an instance of a type: struct, dataclass, typed dict, or a union or list of such.

    Raises:
        MisfitError: it is not of the type, or a class rejects it; names the first place that does not fit.
    """
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), value, kind) from error


def as_json(record: Any) -> Any:
    """The JSON values that ``validated`` makes a record of, keys sorted."""
    import msgspec

    return msgspec.to_builtins(record, order="sorted")


def check_types(settings: Any) -> None:
    """Raise ValueError unless every field of a dataclass has the type, or is one of the words, that it declares."""
    for name, kind in hints_of(type(settings)).items():
        value = getattr(settings, name)
        try:
            validated(value, kind)
        except MisfitError as error:
            raise MisfitError(f"{name}.{error.place}".rstrip("."), error.problem) from error
        if isinstance(value, float) and not math.isfinite(value):
            raise MisfitError(name, f"must be float, not {value!r}")


def _misfit(text: str, value: Any, kind: Any) -> MisfitError:
    """An error of msgspec in the words of this project, which say what was found and which words are known."""
    match = MESSAGE.fullmatch(text)
    said, where = (match["said"], match["place"] or "") if match else (text, "")
    place = re.findall(r"[^.\[\]]+|\.\.\.", where)
    if "..." in place:
        place = _with_keys(place, value, kind)
    if found := re.fullmatch(r"Object (missing required|contains unknown) field `(.*)`", said):
        problem = "is missing" if found[1].startswith("missing") else "is not known"
        return MisfitError(".".join([*place, found[2]]), problem)
    shown = repr(_at(value, place))
    quoted = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    problem = said
    if said.startswith("Invalid"):
        words = _words(kind, place)
        problem = f"{quoted} is not one of {', '.join(map(str, words))}" if words else f"cannot be {quoted}"
    elif found := re.fullmatch(r"Expected (.*?)(?:, got .*)?", said):
        wanted = " ".join(WORDS.get(word, word) for word in found[1].replace("`", "").replace("|", "or").split())
        problem = f"must be {wanted}, not {quoted}"
    return MisfitError(".".join(place), problem)


def _with_keys(place: Place, value: Any, kind: Any) -> list[str]:
    """A place with the key in every ``...``: that whose item, alone in its dict, does not fit either."""
    found = list(place)
    for index, part in enumerate(place):
        if part == "...":
            items = _at(value, found[:index])
            alone = {key: _put(value, found[:index], {key: item}) for key, item in items.items()}
            found[index] = next((key for key, changed in alone.items() if not _fits(changed, kind)), part)
    return found


def _fits(value: Any, kind: Any) -> bool:
    import msgspec

    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _at(value: Any, place: Place) -> Any:
    for part in place:
        value = value[int(part) if isinstance(value, (list, tuple)) else part]
    return value


def _put(value: Any, place: Place, new: Any) -> Any:
    """A copy of a value with another one at a place."""
    if not place:
        return new
    if isinstance(value, (list, tuple)):
        at = int(place[0])
        return [*value[:at], _put(value[at], place[1:], new), *value[at + 1 :]]
    return {**value, place[0]: _put(value[place[0]], place[1:], new)}


def _words(kind: Any, place: Place) -> tuple[Any, ...]:
    """The words that a type allows at a place; none where it is not a choice of words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return next((found for option in arguments if (found := _words(option, place))), ())
    if not place:
        return arguments if origin is Literal else ()
    if origin in (list, tuple, dict):
        return _words(arguments[-1 if origin is dict else 0], place[1:])
    if isinstance(kind, type) and place[0] in (hints := hints_of(kind)):
        return _words(hints[place[0]], place[1:])
    return ()
