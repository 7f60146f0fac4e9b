"""Tables to files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.files import write_atomically
from benchmark.report import csv, latex, text
from benchmark.report.leaderboard import Leaderboard

FORMATS: dict[str, tuple[str, Callable[[Leaderboard], str]]] = {
    "csv": ("csv", csv.render),
    "latex": ("tex", latex.render),
    "markdown": ("md", text.markdown),
}


def write(board: Leaderboard, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write ``leaderboard.<suffix>`` in every format asked for; returns the paths."""
    paths = []
    for name in formats:
        suffix, render = FORMATS[name]
        path = folder / f"leaderboard.{suffix}"
        write_atomically(path, render(board))
        paths.append(path)
    return paths


def as_json(board: Leaderboard) -> str:
    """Every number of the leaderboard with all its digits, as a JSON document; undefined numbers are null."""
    records: list[dict[str, Any]] = []
    for group in board.groups:
        for line in group.lines:
            shared = {
                "subset": group.subset,
                "explainer": group.explainer,
                "attack": group.attack,
                "method": line.label,
            }
            for metric, number in zip(board.metrics, line.numbers, strict=True):
                values = number.estimate
                records.append(
                    {
                        **shared,
                        "seed": line.seed,
                        "metric": metric.label,
                        "higher_is_better": metric.higher_is_better,
                        "mean": _finite(values.mean) if values else None,
                        "ci": [_finite(values.low), _finite(values.high)] if values else None,
                        "images": values.n if values else None,
                        "undefined": values.n - values.defined if values else None,
                        "best": number.best,
                        "flags": [flag.name for flag in number.flags],
                        "status": "ok" if values else "failed",
                    }
                )
    accuracies = {}
    for line in board.groups[0].lines:
        label = line.label if line.seed is None else f"{line.label} (seed {line.seed})"
        accuracies[label] = _finite(line.accuracy.estimate.mean) if line.accuracy.estimate else None
    return json.dumps({"comparison": board.comparison, "accuracy": accuracies, "rows": records}, indent=2) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
