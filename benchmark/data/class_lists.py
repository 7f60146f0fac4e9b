"""The classes of a network and their numbers, where a folder has images of some of them only."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attrobust.naming.file_names import not_a_file
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

SYNSETS = Path(__file__).parent / "imagenet_synsets.txt"
"""The 1000 classes of ImageNet (ILSVRC 2012) by the names of their folders, in the order of every network for them."""
MOST = 1_000_000
"""Classes of a network at most."""
WHOLE = re.compile(r"[0-9]+")
"""How the number of a class is written."""


@dataclass(frozen=True, kw_only=True)
class ClassList:
    """Classes in the order of a network's logits.

    Attributes:
        names: of the classes, each another one.
        numbers: by every name that one class alone goes by, its number.
        source: what it was made from, for errors.
        shared: by every name that several classes go by, their numbers.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int]
    source: str
    shared: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def number(self, name: str, where: str) -> int:
        """The number of a class; raises UsageError where ``where`` names none of the list, or several."""
        if name in self.shared:
            several = " and ".join(map(str, self.shared[name]))
            raise UsageError(
                f"imagefolder: {where} has the class {name!r}, which in {self.source} is the name of the numbers "
                f"{several}; use another of its names"
            )
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


def of_labels(names: Iterable[str], where: str) -> ClassList | None:
    """The classes 0, 1, … up to the largest of some labels; None where no label is a number.

    Args:
        names: the labels.
        where: names what holds them, in errors.

    Raises:
        UsageError: some labels are numbers, and another is a name, or a number that is written otherwise. In the order
            of the names, which is that of letters, all numbers would stand for other logits.
    """
    known = set(names)
    odd = sorted(name for name in known if not WHOLE.fullmatch(name))
    if not odd:
        return _counted(str(1 + _largest(known, where)), where)
    if any(map(_reads_as_number, known)):
        raise UsageError(
            f"imagefolder: {where} has labels that are numbers, and {odd[0]!r} is not the number of a logit "
            "(0, 1, 2, …); write all as whole numbers, or name the classes in classes=FILE"
        )
    return None


def _largest(names: Iterable[str], where: str) -> int:
    longest = max(names, key=len)
    if len(longest) > len(str(MOST)):
        raise UsageError(f"imagefolder: {where} has the label {longest[:20]}, and {MOST} classes are the most")
    return max(map(int, names))


def _reads_as_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return "_" not in name and any(map(str.isdecimal, name))


def _counted(count: str, source: str) -> ClassList:
    """Classes that are called 0, 1, …, as many as a text says."""
    if len(count) > len(str(MOST)) or int(count) > MOST:
        raise UsageError(f"imagefolder: {source} has more than {MOST} classes, which are the most")
    return in_order([str(number) for number in range(int(count))], source)


def read_classes(setting: str, root: Path) -> ClassList:
    """The classes of the setting ``classes`` of ``imagefolder``.

    Args:
        setting: ``imagenet``, a number of classes whose names are 0, 1, …, or a file below ``root``: JSON, a list of
            names, or an object of numbers by name or names by number (a name or several); or a text, a name a line.
        root: the folder of the images.

    Raises:
        UsageError: no such file, or no classes numbered from 0 in it, or one of them twice.
    """
    source = f"classes={setting}"
    if setting == "imagenet":
        return in_order(SYNSETS.read_text(encoding="utf-8").split(), source)
    if WHOLE.fullmatch(setting):
        return _counted(setting, source)
    path = root / setting
    if problem := not_a_file(path):
        known = "imagenet, a number of classes, or a file below --data-root"
        raise UsageError(f"imagefolder: {source}: {path} {problem}; it is {known}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return in_order([line.strip() for line in text.split("\n") if line.strip()], source)
        held = json.loads(text, object_pairs_hook=functools.partial(_object, source))
        return in_order(held, source) if _are_names(held) else _mapped(held, source)
    except OSError as error:
        raise UsageError(f"imagefolder: {source}: {path} cannot be read: {error.strerror}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"imagefolder: {path} does not number classes from 0: a list of names, "
            'or an object such as {"n01440764": 0} or {"0": ["n01440764", "tench"]}'
        ) from error


def _object(source: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises UsageError for a key that it has twice."""
    held = dict(pairs)
    if len(held) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UsageError(f"imagefolder: {source} has {twice!r} twice")
    return held


def _are_names(held: Any) -> bool:
    return isinstance(held, list) and all(isinstance(name, str) for name in held)


def _mapped(held: Any, source: str) -> ClassList:
    """Classes of an object of numbers by name, or of one name or several by number."""
    by_number: dict[int, list[str]] = {}
    for key, value in held.items():
        names = [value] if isinstance(value, str) else value
        if isinstance(value, int) and not isinstance(value, bool):
            by_number.setdefault(value, []).append(key)
        elif WHOLE.fullmatch(key) and _are_names(names) and int(key) not in by_number:
            by_number[int(key)] = list(names)
        else:
            raise ValueError(key)
    if sorted(by_number) != list(range(len(by_number))) or not all(by_number.values()):
        raise ValueError("numbers")
    numbers: dict[str, list[int]] = {}
    for number, names in sorted(by_number.items()):
        for name in dict.fromkeys(names):
            numbers.setdefault(name, []).append(number)
    firsts = [by_number[number][0] for number in range(len(by_number))]
    return ClassList(
        names=in_order(firsts, source).names,
        numbers={name: of[0] for name, of in numbers.items() if len(of) == 1},
        source=source,
        shared={name: of for name, of in numbers.items() if len(of) > 1},
    )
