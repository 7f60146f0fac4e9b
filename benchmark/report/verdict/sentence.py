"""The verdict in words: which methods are unbeaten most often, and at what accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from attrobust.benchmark.report.verdict.view import Row, Verdict

NAMED = 3
"""Methods that are named at most of those that are first, and of those behind them."""
FEW = 30
"""Images; of fewer the verdict says so."""


def sentence(verdict: Verdict) -> str:
    """Who wins, and its price in accuracy; and a caution where few images were attacked."""
    return " ".join(filter(None, [_winner(verdict), _caution(verdict)]))


def _caution(verdict: Verdict) -> str:
    if not verdict.counted or verdict.images >= FEW:
        return ""
    return f"Caution: these are {verdict.images} images; with fewer than {FEW} few differences can be told from chance."


def _winner(verdict: Verdict) -> str:
    rows = [row for row in verdict.rows if row.competes]
    if not rows:
        return _without_methods(verdict)
    if len(rows) == 1:
        return f"{rows[0].name} has nothing to be compared with: {_accuracy(rows[0], verdict)}."
    if not verdict.counted:
        known = "; ".join(f"{row.name} has {_accuracy(row, verdict)}" for row in rows[:NAMED])
        return f"No method can be ranked: {_why_not(rows)}. {known}{_more(rows)}."
    most = rows[0].unbeaten
    first, others = [row for row in rows if row.unbeaten == most], [row for row in rows if row.unbeaten < most]
    columns = f"unbeaten in {most} of {verdict.counted} column{'s' if verdict.counted > 1 else ''}"
    if len(first) == 1:
        said = f"{first[0].name} comes first: {columns}, with {_accuracy(first[0], verdict, best=True)}."
    else:
        tied = [f"{row.name} has {_accuracy(row, verdict, best=True)}" for row in first[:NAMED]]
        said = f"{len(first)} methods tie for the first place, {columns}: {'; '.join(tied)}{_more(first)}."
    if not others:
        return said
    behind = [f"{row.name}, unbeaten in {row.unbeaten} ({_accuracy(row, verdict)})" for row in others[:NAMED]]
    return f"{said} Behind: {'; '.join(behind)}{_more(others)}."


def _why_not(rows: Sequence[Row]) -> str:
    """Why there are no ranks."""
    if all(value.mean == "failed" for row in rows for value in row.values):
        return "their numbers failed"
    trusted = [row for row in rows if not all(value.flagged for value in row.values)]
    if not trusted:
        return "all their numbers are flagged"
    if len(trusted) == 1:
        return f"{trusted[0].name} alone has numbers without a flag"
    return "too few images have scores of two or more"


def _without_methods(verdict: Verdict) -> str:
    if any("at-chance" in row.flags for row in verdict.rows):
        return "No method leads: none of the networks is better than guessing."
    return "No method to compare: these are sanity-check baselines, which lead nothing."


def _more(rows: Sequence[Row]) -> str:
    return f"; and {len(rows) - NAMED} more" if len(rows) > NAMED else ""


def _accuracy(row: Row, verdict: Verdict, *, best: bool = False) -> str:
    """What a method's accuracies are, and where asked for the highest of all."""
    said = []
    for place, column in enumerate(verdict.accuracies):
        value, what = row.accuracies[place], column.words[0].removesuffix(" (%)")
        highest = _highest(verdict, place) if best else []
        above = ""
        if highest and row not in highest:
            tie = ", a tie" if value.rank == 1 else ""
            above = f" (highest: {highest[0].accuracies[place].mean} % of {_listed(highest)}{tie})"
        said.append(f"{value.mean} % {what}{above}" if _is_number(value.mean) else f"no {what}")
    flagged = [f"{len(row.flags)} flag{'s' if len(row.flags) > 1 else ''}"] if row.flags else []
    return ", ".join([*said, *flagged])


def _highest(verdict: Verdict, place: int) -> list[Row]:
    """All methods of which the highest accuracy is printed."""
    known = [row for row in verdict.rows if row.competes and _is_number(row.accuracies[place].mean)]
    most = max((float(row.accuracies[place].mean) for row in known), default=0.0)
    return [row for row in known if float(row.accuracies[place].mean) == most]


def _listed(rows: Sequence[Row]) -> str:
    if len(rows) > NAMED:
        return f"{len(rows)} methods"
    *others, last = (row.name for row in rows)
    return f"{', '.join(others)} and {last}" if others else last


def _is_number(text: str) -> bool:
    return text not in ("failed", "undefined")
