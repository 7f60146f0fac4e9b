"""Tables to files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrobust.benchmark.report import csv, latex, text
from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Line, Mean, Metric, Number
from attrobust.benchmark.statistics import OverSeeds
from attrobust.files import write_atomically
from attrobust.types import UsageError

FORMATS: dict[str, tuple[str, Callable[[Leaderboard], str]]] = {
    "csv": ("csv", csv.render),
    "latex": ("tex", latex.render),
    "markdown": ("md", text.markdown),
}


def write(board: Leaderboard, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write ``leaderboard.<suffix>`` in every format asked for; returns the paths.

    Raises:
        UsageError: the folder cannot be written.
    """
    paths = []
    for name in formats:
        suffix, render = FORMATS[name]
        path = folder / f"leaderboard.{suffix}"
        try:
            write_atomically(path, render(board))
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be written ({error.strerror}); name another folder with --out"
            ) from error
        paths.append(path)
    return paths


def remove_others(folder: Path, formats: Sequence[str]) -> None:
    """Remove the tables of an earlier command in formats that are not asked for now: they would show other numbers."""
    for name, (suffix, _) in FORMATS.items():
        if name not in formats:
            (folder / f"leaderboard.{suffix}").unlink(missing_ok=True)


def as_json(board: Leaderboard) -> str:
    """Every number of the leaderboard with all its digits, as a JSON document; undefined numbers are null."""
    first, records, seeds = board.groups[0], [], []
    for line in first.lines:
        pairs = zip(board.accuracies, line.accuracies, strict=True)
        records += [_record(None, line, metric, number) for metric, number in pairs]
    for mean in first.means:
        pairs_over = zip(board.accuracies, mean.accuracies, strict=True)
        seeds += [_over_seeds(None, mean, metric, value, None) for metric, value in pairs_over]
    for group in board.groups:
        for line in group.lines:
            pairs = zip(group.metrics, line.numbers, strict=True)
            records += [_record(group, line, metric, number) for metric, number in pairs]
        for mean in group.means:
            found = zip(group.metrics, mean.numbers, mean.ranks, strict=True)
            seeds += [_over_seeds(group, mean, metric, value, rank) for metric, value, rank in found]
    choices = [choice.as_json() for choice in board.choices]
    whole = {"comparison": board.comparison, "interval": board.interval, "choices": choices}
    return json.dumps(whole | {"rows": records, "over_seeds": seeds}, indent=2) + "\n"


def _place(group: Group | None, metric: Metric) -> dict[str, Any]:
    return {
        "subset": group.subset if group else ALL,
        "scope": group.scope if group else "accuracy",
        "explainer": (group.explainer or None) if group else None,
        "attack": (group.attack or None) if group else metric.attack or None,
        "metric": metric.label,
        "higher_is_better": metric.higher_is_better,
    }


def _record(group: Group | None, line: Line, metric: Metric, number: Number) -> dict[str, Any]:
    values, found = number.estimate, number.spread
    spread = found and {
        "worst": _finite(found.worst),
        "worst_image": found.image,
        "worst_5_percent": _finite(found.tail),
        "median": _finite(found.median),
    }
    return {
        "method": line.label,
        "method_key": line.method,
        "seed": line.seed,
        "checkpoint_sha256": line.sha256,
        "control": line.control,
        **_place(group, metric),
        "mean": _finite(values.mean) if values else None,
        "ci": [_finite(values.low), _finite(values.high)] if values else None,
        "images": values.n if values else None,
        "undefined": values.n - values.defined if values else None,
        "spread": spread,
        "legal": number.legal,
        "rank": number.rank,
        "best": number.best,
        "flags": [flag.name for flag in number.flags],
        "status": "ok" if values else "failed",
    }


def _over_seeds(
    group: Group | None, mean: Mean, metric: Metric, value: OverSeeds | None, rank: int | None
) -> dict[str, Any]:
    return {
        "method": mean.label,
        "method_key": mean.method,
        **_place(group, metric),
        "mean": _finite(value.mean) if value else None,
        "standard_error": _finite(value.error) if value else None,
        "seeds": value.count if value else None,
        "rank": rank,
        "best": rank == 1,
        "status": "ok" if value else "failed",
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
