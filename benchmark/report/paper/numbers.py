"""A number of a LaTeX table with its interval and its marks."""

from __future__ import annotations

from dataclasses import dataclass

from attrobust.benchmark.report.paper.entry import Entry, Face, Piece, plain
from attrobust.benchmark.report.table import Metric, Number, SeedNumber
from attrobust.benchmark.report.view.style import Style
from attrobust.benchmark.report.words import CONTESTED, interval_text

UNDEFINED, FAILED = plain("undefined"), plain("failed")


@dataclass(frozen=True, kw_only=True)
class Marked:
    """Whether a number is the best of its column, or the second best."""

    best: bool = False
    second: bool = False

    @classmethod
    def of(cls, rank: int | None, second: int | None) -> Marked:
        """From the rank of a number, and that of the second best."""
        return cls(best=rank == 1, second=second is not None and rank == second)

    @property
    def face(self) -> Face:
        """How such a number is set."""
        return "bold" if self.best else "under" if self.second else "plain"


def single(metric: Metric, number: Number, style: Style, marked: Marked) -> Entry:
    """``61.2 [58.0, 64.1]``, the number in bold or underlined and the interval small; digits are outside of math."""
    estimate = number.estimate
    if estimate is None:
        return FAILED
    if not estimate.defined:
        return UNDEFINED
    marks = ("!" if number.flags else "") + (CONTESTED if number.contests else "")
    missing = f"{estimate.n - estimate.defined} undefined" if estimate.defined < estimate.n else ""
    small = ", ".join(filter(None, (interval_text(metric, estimate, style.intervals), missing)))
    return (*_shown(metric.text(estimate.mean), marked), *plain(marks, "raised"), *_small(small))


def over_seeds(metric: Metric, number: SeedNumber, marked: Marked) -> Entry:
    """The mean of a method over its seeds and, small, its standard error."""
    value = number.value
    if value is None:
        return FAILED
    flag = plain("!" if number.flags else "", "raised")
    error = metric.width_text(value.error, 1) or "undefined"
    return (*_shown(metric.text(value.mean) or "undefined", marked), *flag, *_small(f"± {error}"))


def _shown(text: str, marked: Marked) -> Entry:
    return (Piece(text.replace("-", "−"), marked.face),)


def _small(text: str) -> Entry:
    return (Piece(" "), Piece(text.replace("-", "−"), "small")) if text else ()
