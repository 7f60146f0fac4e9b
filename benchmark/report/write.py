"""Tables to files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrobust.types import UsageError
from benchmark.files import write_atomically
from benchmark.report import csv, latex, text
from benchmark.report.table import ALL, Group, Leaderboard, Line, Metric, Number

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
    records = [
        _record(None, line, metric, number)
        for line in board.groups[0].lines
        for metric, number in zip(board.accuracies, line.accuracies, strict=True)
    ]
    for group in board.groups:
        for line in group.lines:
            pairs = zip(board.metrics, line.numbers, strict=True)
            records += [_record(group, line, metric, number) for metric, number in pairs]
    choices = [choice.as_json() for choice in board.choices]
    return json.dumps({"comparison": board.comparison, "choices": choices, "rows": records}, indent=2) + "\n"


def _record(group: Group | None, line: Line, metric: Metric, number: Number) -> dict[str, Any]:
    values = number.estimate
    return {
        "method": line.label,
        "seed": line.seed,
        "checkpoint_sha256": line.sha256,
        "subset": group.subset if group else ALL,
        "explainer": group.explainer if group else None,
        "attack": group.attack if group else metric.attack or None,
        "metric": metric.label,
        "higher_is_better": metric.higher_is_better,
        "mean": _finite(values.mean) if values else None,
        "ci": [_finite(values.low), _finite(values.high)] if values else None,
        "images": values.n if values else None,
        "undefined": values.n - values.defined if values else None,
        "legal": number.legal,
        "best": number.best,
        "flags": [flag.name for flag in number.flags],
        "status": "ok" if values else "failed",
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
