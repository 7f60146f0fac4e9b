"""Axes that sweep: ``--eps 2/255,4/255`` stands for two runs that differ in nothing else, in one table.

The parts of a protocol are such runs too, which differ in whatever the protocol says.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from attrobust.naming.file_names import free_name
from attrobust.naming.spec import parse_specs
from attrobust.numbers import parse_number, parse_whole, quoted
from attrobust.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One value of every axis that may sweep, and a part of the protocol.

    Attributes:
        part: its name; empty where the protocol has no parts.
        dataset, model, eps: as the options, or the part, have it; None where nothing was typed.
        axes: names of those that sweep.
        differences: of a part, what tells it from the others in words, radii that sweep apart.
        beside: names of the parts with other rows of the same table, its own among them.
    """

    part: str = ""
    dataset: str | None = None
    model: str | None = None
    eps: str | None = None
    axes: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What tells it from the others, e.g. ``digits, eps 2/255``; empty where nothing sweeps."""
        return self._words(self.part)

    @property
    def table(self) -> str:
        """What tells the table that its rows stand in from the others; empty where that is its own."""
        return self._words(" and ".join(self.beside)) if len(self.beside) > 1 else ""

    @property
    def folder(self) -> str:
        """Part and axes as the name of a folder, e.g. ``digits-eps-2-255``."""
        return free_name(re.sub(r"[^\w.]+", "-", ", ".join(filter(None, [self.part, *self._axes]))), set())

    def _words(self, parts: str) -> str:
        return ", ".join(filter(None, [parts, *self._axes, *self.differences]))

    @property
    def _axes(self) -> list[str]:
        values = {axis: str(getattr(self, axis)) for axis in self.axes}
        return [f"eps {value}" if axis == "eps" else value for axis, value in values.items()]


def combinations(
    *, dataset: str | None, model: str | None, eps: str | None, parts: Mapping[str, str] | None = None
) -> list[Combination]:
    """All combinations of what options list, the last axis fastest; one where nothing sweeps.

    Args:
        dataset, model, eps: as typed; None where nothing was.
        parts: by name, the radii of a protocol's parts, which those that were typed replace; None where it has none.

    Raises:
        UsageError: an empty value, or one that is there twice.
    """
    found: list[Combination] = []
    stated: Mapping[str, str | None] = parts or {"": None}
    for part, radii in stated.items():
        values = {"dataset": _listed(dataset, "--dataset", _specs), "model": _listed(model, "--model", _specs)}
        values["eps"] = _listed(radii if eps is None else eps, "--eps", radii_of)
        axes = tuple(axis for axis, listed in values.items() if len(listed) > 1)
        found += [
            Combination(part=part, dataset=one, model=other, eps=radius, axes=axes)
            for one, other, radius in itertools.product(*values.values())
        ]
    for index, item in enumerate(found):
        for other in found[:index]:
            if item.folder.casefold() == other.folder.casefold():
                raise UsageError(
                    f"{item.words} and {other.words} would have the same folder; give them one command each"
                )
    return found


MOST_SEEDS = 10_000
"""Training seeds of a run."""


def seeds_of(text: str) -> tuple[int, ...]:
    """Training seeds from ``0,1,2`` or ``0-4``; raises UsageError on anything else."""
    found: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", piece, re.ASCII)
        try:
            first, last = (parse_whole(end) for end in ((match[1], match[2]) if match else (piece, piece)))
        except ValueError as error:
            where = f"--seeds {quoted(text)} must be whole numbers separated by commas, e.g. 0,1,2 or 0-4"
            raise UsageError(f"{where}: {error}") from None
        count = last - first + 1
        if count > MOST_SEEDS:
            raise UsageError(f"--seeds {text!r} are {count:,} trainings of each method; at most {MOST_SEEDS:,}")
        if count < 1:
            raise UsageError(f"--seeds {text!r}: a range counts up, {last}-{first}")
        found += range(first, last + 1)
    return tuple(found)


def _listed(text: str | None, option: str, parse: Callable[[str, str], Sequence[str]]) -> Sequence[str | None]:
    return [None] if text is None else parse(text, option)


def _specs(text: str, option: str) -> list[str]:
    return [str(spec) for spec in parse_specs(text, option)]


def radii_of(text: str, option: str) -> list[str]:
    """The radii that are listed in ``2/255,4/255``; raises UsageError, which names ``option``, on anything else."""
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(pieces):
        raise UsageError(f"{option} {text!r} has an empty value; list radii separated by commas, e.g. 2/255,4/255")
    known: dict[float, str] = {}
    for piece in pieces:
        try:
            radius = parse_number(piece)
        except ValueError as error:
            raise UsageError(f"{option}: {error}") from None
        if radius in known:
            raise UsageError(f"{option} {text!r} lists {known[radius]} twice")
        known[radius] = piece
    return pieces
