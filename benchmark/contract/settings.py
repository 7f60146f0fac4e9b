"""Claims about the settings of an item, which are the same on every axis."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeVar

from attrobust.benchmark.contract.claims import Outcome, require
from attrobust.naming.spec import Spec, build, settings_of
from attrobust.naming.suggest import refuse_old_attributes
from attrobust.places import ours
from attrobust.process import seeded

T = TypeVar("T")
GENERATED = (dataclasses.__file__, "<string>")
"""Where the code of dataclasses is."""


def settings_claims(cls: type[Any]) -> Iterator[Outcome]:
    """What is claimed of a class before there is an instance."""
    for text, test in (
        ("Every setting is a field of a frozen dataclass, with a default", _fields),
        ("Every setting can be typed on the command line", _typed),
    ):
        problem = ""
        try:
            with seeded(0):
                test(cls)
        except Exception as error:  # whatever an author's __post_init__ raises
            problem = " ".join(str(error).split())
        yield Outcome(text, problem)


def _fields(cls: type[Any]) -> None:
    decorator = "@dataclass(frozen=True, kw_only=True)"
    require(dataclasses.is_dataclass(cls), f"{cls.__name__} is no dataclass; decorate it with {decorator}")
    refuse_old_attributes(cls, cls.__name__)
    fields = {item.name for item in dataclasses.fields(cls)}
    for name, kind in inspect.get_annotations(cls).items():
        constant = "ClassVar" in str(kind)
        require(constant or name in fields, f"{name} is no setting, since {cls.__name__} lacks {decorator}")
    for item in dataclasses.fields(cls):
        missing = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        require(not missing, f"setting {item.name} has no default; give it one")
    cls()


def _typed(cls: type[Any]) -> None:
    item = cls()
    for name, value in settings_of(item).items():
        text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        again = build(cls, Spec(cls.__name__, {name: text}))
        require(again == item, f"typing {name}={text}, the default, gives {name}={getattr(again, name)!r}")


def shortened(item: T, few: Mapping[str, int]) -> T:
    """An item with at most so many steps, samples or queries, where it has such settings and takes so few.

    Args:
        item: an instance.
        few: by setting.
    """
    less = {name: count for name, count in few.items() if _number(item, name) > count}
    with suppress(TypeError, ValueError), seeded(0):
        return dataclasses.replace(item, **less)  # type: ignore[type-var]
    return item


def _number(item: object, name: str) -> int:
    value = getattr(item, name, 0)
    return value if isinstance(value, int) else 0


def made(item: type[Any] | Any) -> Any:
    """An instance: of a class with its defaults, or the instance itself."""
    with seeded(0):
        return item() if isinstance(item, type) else item


def watched(item: Any) -> tuple[Any, set[str]]:
    """An equal item, and the names of the settings that are read from it later on."""
    cls, read = type(item), set[str]()
    with seeded(0):
        copied = cls(**{field.name: getattr(item, field.name) for field in dataclasses.fields(item) if field.init})

    def note(self: Any, name: str) -> Any:
        # What compares, copies, prints or validates an item reads all of its settings.
        reader = sys._getframe(1).f_code
        if reader.co_filename not in GENERATED and reader.co_name != "__post_init__":
            read.add(name)
        return object.__getattribute__(self, name)

    # A class of the same name and module, so that messages and lookups take it for the original.
    same = {"__getattribute__": note, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    keywords = {"kind": True} if "kind" in typing.get_type_hints(cls.__init_subclass__) else {}
    object.__setattr__(
        copied, "__class__", types.new_class(cls.__name__, (cls,), keywords, lambda body: body.update(same))
    )
    return copied, read


def alternatives(item: T) -> list[T]:
    """The item with every other choice of each setting that is a choice, one setting at a time."""
    found: list[T] = []
    for name, kind in typing.get_type_hints(type(item)).items():
        for choice in _choices(kind):
            if choice != getattr(item, name):
                with suppress(TypeError, ValueError), seeded(0):
                    found.append(dataclasses.replace(item, **{name: choice}))  # type: ignore[type-var]
    return found


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values that a setting of a type can have, where they can be counted."""
    if kind is bool:
        return (True, False)
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def unread(item: Any, read: set[str]) -> list[str]:
    """The settings of the author's that are not among those that were read, nor said to be without effect."""
    cls = type(item)
    authors = [base for base in cls.__mro__ if base is cls or (dataclasses.is_dataclass(base) and not ours(base))]
    own = {name for base in authors for name in inspect.get_annotations(base)}
    own -= {name for name, kind in typing.get_type_hints(cls).items() if len(_choices(kind)) == 1}
    idle: frozenset[str] = getattr(item, "without_effect", frozenset())
    return [field.name for field in dataclasses.fields(cls) if field.name in own - read - idle]
