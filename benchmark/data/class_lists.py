"""The classes of a network and their numbers, where a folder has images of some of them only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

SYNSETS = Path(__file__).parent / "imagenet_synsets.txt"
"""The 1000 classes of ImageNet (ILSVRC 2012) by the names of their folders, in the order of every network for them."""


@dataclass(frozen=True, kw_only=True)
class ClassList:
    """Classes in the order of a network's logits.

    Attributes:
        names: of the classes, each another one.
        numbers: by every name that a class goes by, its number.
        source: what it was made from, for errors.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int]
    source: str

    def number(self, name: str, where: str) -> int:
        """The number of a class; raises UsageError where ``where`` names one that is not in the list."""
        if name not in self.numbers:
            hint = did_you_mean(name, list(self.numbers))
            raise UsageError(f"imagefolder: {where} has the class {name!r}, which {self.source} lacks.{hint}")
        return self.numbers[name]


def in_order(names: Sequence[str], source: str) -> ClassList:
    """Classes that are numbered in the order of their names; raises UsageError for a name that occurs twice."""
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        twice = next(name for number, name in enumerate(names) if numbers[name] != number)
        raise UsageError(f"imagefolder: {source} names the class {twice!r} twice")
    return ClassList(names=tuple(names), numbers=numbers, source=source)


def read_classes(setting: str, root: Path) -> ClassList:
    """The classes of the setting ``classes`` of ``imagefolder``.

    Args:
        setting: ``imagenet``, a number of classes whose names are 0, 1, …, or a file below ``root``: JSON, a list of
            names, or an object of numbers by name or names by number (a name or several); or a text, a name a line.
        root: the folder of the images.

    Raises:
        UsageError: no such file, or no classes numbered from 0 in it.
    """
    source = f"classes={setting}"
    if setting == "imagenet":
        return in_order(SYNSETS.read_text(encoding="utf-8").split(), source)
    if setting.isdecimal():
        return in_order([str(number) for number in range(int(setting))], source)
    path = root / setting
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return in_order([line.strip() for line in text.splitlines() if line.strip()], source)
        held = json.loads(text)
        return in_order(held, source) if _are_names(held) else _mapped(held, source)
    except OSError as error:
        known = "imagenet, a number of classes, or a file below --data-root"
        raise UsageError(f"imagefolder: {source}: {path} cannot be read ({error.strerror}); it is {known}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"imagefolder: {path} does not number classes from 0: a list of names, "
            'or an object such as {"n01440764": 0} or {"0": ["n01440764", "tench"]}'
        ) from error


def _are_names(held: Any) -> bool:
    return isinstance(held, list) and all(isinstance(name, str) for name in held)


def _mapped(held: Any, source: str) -> ClassList:
    """Classes of an object of numbers by name, or of one name or several by number."""
    by_number: dict[int, list[str]] = {}
    for key, value in held.items():
        if isinstance(value, int) and not isinstance(value, bool):
            by_number.setdefault(value, []).append(key)
        else:
            by_number.setdefault(int(key), []).extend([value] if isinstance(value, str) else map(str, value))
    if sorted(by_number) != list(range(len(by_number))) or not all(by_number.values()):
        raise ValueError("numbers")
    numbers: dict[str, int] = {}
    for number, names in by_number.items():
        for name in names:
            numbers.setdefault(name, number)
    firsts = [by_number[number][0] for number in range(len(by_number))]
    return ClassList(names=in_order(firsts, source).names, numbers=numbers, source=source)
