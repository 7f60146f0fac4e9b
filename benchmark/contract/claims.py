"""A contract is a list of claims about an item; each passes, or one line says what is wrong and where."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from attrobust.benchmark.contract.bench import Bench
from attrobust.process import seeded
from attrobust.types import UsageError

T = TypeVar("T")
Test = Callable[[T, Bench], None]
"""Tries a claim on an item; raises where it does not hold."""


class ClaimError(ValueError):
    """A claim does not hold; the message says what is wrong and what to do."""


class UndecidedError(ValueError):
    """It cannot be seen from an item whether a claim holds; the message says why."""


def require(holds: bool, problem: str) -> None:
    """Raise ClaimError unless a claim holds."""
    if not holds:
        raise ClaimError(problem)


@dataclass(frozen=True)
class Outcome:
    """What came of a claim.

    Attributes:
        claim: in words.
        problem: what is wrong and where, in one line; empty where the claim holds, or is undecided.
        undecided: why it cannot be decided whether the claim holds; empty where it can.
    """

    claim: str
    problem: str
    undecided: str = ""


@dataclass(frozen=True)
class Claim(Generic[T]):
    """One claim.

    Attributes:
        text: in words.
        test: tries it.
        short: whether it is also tried before a run, with the images and networks of the run.
    """

    text: str
    test: Test[T]
    short: bool


class Contract(Generic[T]):
    """The claims about the items of one kind.

    Args:
        kind: as messages say it: ``"method"``.
        base: the class that items derive from.
        authored: the functions that an author writes; problems are placed at the first of them that there is.
        few: largest values of settings that decide how long an item takes; it is tried with no more.
    """

    def __init__(self, kind: str, base: type[Any], *authored: str, few: Mapping[str, int] | None = None) -> None:
        self.kind, self.base, self._authored, self.few = kind, base, authored, few or {}
        self.claims: list[Claim[T]] = []

    def claim(self, *, short: bool = False) -> Callable[[Test[T]], Test[T]]:
        """Decorator that adds a claim, whose words are the function's docstring; see ``Claim``."""

        def add(test: Test[T]) -> Test[T]:
            text = (inspect.getdoc(test) or "").partition("\n")[0].rstrip(".")
            self.claims.append(Claim(text, test, short))
            return test

        return add

    def outcomes(self, item: T, bench: Bench, *, short: bool = False) -> Iterator[Outcome]:
        """Every claim with what came of it, one after the other.

        Args:
            item: an instance.
            bench: what it is tried on.
            short: whether only the short form is tried.
        """
        for claim in self.claims:
            if claim.short or not short:
                yield self._outcome(claim, item, bench)

    def _outcome(self, claim: Claim[T], item: T, bench: Bench) -> Outcome:
        try:
            with seeded(0):
                claim.test(item, bench)
        except UndecidedError as why:
            return Outcome(claim.text, "", undecided=_one_line(str(why)))
        except (ClaimError, UsageError) as broken:
            return Outcome(claim.text, _one_line(f"{broken}{self._place(type(item))}"))
        except Exception as error:
            place = _raised_at(error, type(item)) or self._place(type(item))
            return Outcome(claim.text, _one_line(f"{type(error).__name__}: {error}{place}"))
        return Outcome(claim.text, "")

    def _place(self, cls: type) -> str:
        """Where the author wrote the function that a claim is about."""
        for name in self._authored:
            owner = next((part for part in cls.__mro__ if name in part.__dict__), self.base)
            function = owner.__dict__.get(name)
            if owner is not self.base and inspect.isfunction(function) and not inspect.isabstract(owner):
                code = inspect.unwrap(function).__code__
                return f" ({name}, {_name(code.co_filename)} line {code.co_firstlineno})"
        return ""


def _raised_at(error: BaseException, cls: type) -> str:
    """The last line of the class's own file on the way to an error; empty where none is."""
    try:
        file = inspect.getfile(cls)
    except (OSError, TypeError):  # typed at a prompt
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({_name(file)} line {frames[-1].lineno})" if frames else ""


def _name(file: str) -> str:
    return Path(file).name


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]


AnyContract = Contract[Any]
"""A contract of any axis."""
