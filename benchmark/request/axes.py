"""Axes that sweep: ``--eps 2/255,4/255`` stands for two runs that differ in nothing else, in one table."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attrobust.naming.spec import parse_specs
from attrobust.types import UsageError, parse_number


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One value of every axis that may sweep.

    Attributes:
        dataset, model, eps: as the options have it; None where nothing was typed.
        axes: names of those that sweep.
    """

    dataset: str | None = None
    model: str | None = None
    eps: str | None = None
    axes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What tells it from the others, e.g. ``digits, eps 2/255``; empty where nothing sweeps."""
        values = {axis: str(getattr(self, axis)) for axis in self.axes}
        return ", ".join(f"eps {value}" if axis == "eps" else value for axis, value in values.items())

    @property
    def folder(self) -> str:
        """The same as the name of a folder, e.g. ``digits-eps-2-255``."""
        return re.sub(r"[^\w.]+", "-", self.words)


def combinations(*, dataset: str | None, model: str | None, eps: str | None) -> list[Combination]:
    """All combinations of what options list, the last axis fastest; one where nothing sweeps.

    Raises:
        UsageError: an empty value, or one that is there twice.
    """
    values = {"dataset": _listed(dataset, "--dataset", _specs), "model": _listed(model, "--model", _specs)}
    values["eps"] = _listed(eps, "--eps", _radii)
    axes = tuple(axis for axis, found in values.items() if len(found) > 1)
    found = [
        Combination(**dict(zip(values, picked, strict=True)), axes=axes)
        for picked in itertools.product(*values.values())
    ]
    for index, item in enumerate(found):
        for other in found[:index]:
            if item.folder == other.folder:
                raise UsageError(
                    f"{item.words} and {other.words} would have the same folder; give them one command each"
                )
    return found


def seeds_of(text: str) -> tuple[int, ...]:
    """Training seeds from ``0,1,2`` or ``0-4``; raises UsageError on anything else."""
    found: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", piece)
        first, last = (match[1], match[2]) if match else (piece, piece)
        try:
            seeds = range(int(first), int(last) + 1)
        except ValueError:
            raise UsageError(f"--seeds {text!r} must be whole numbers separated by commas, e.g. 0,1,2 or 0-4") from None
        if not seeds:
            raise UsageError(f"--seeds {text!r}: a range counts up, {last}-{first}")
        found += seeds
    return tuple(found)


def _listed(text: str | None, option: str, parse: Callable[[str, str], Sequence[str]]) -> Sequence[str | None]:
    return [None] if text is None else parse(text, option)


def _specs(text: str, option: str) -> list[str]:
    return [str(spec) for spec in parse_specs(text, option)]


def _radii(text: str, option: str) -> list[str]:
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
