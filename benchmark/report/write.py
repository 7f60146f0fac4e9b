"""Tables to files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from attrobust.benchmark.report import csv, latex, text
from attrobust.benchmark.report.bibliography import render as bibliography
from attrobust.benchmark.report.entries import LineEntry, MeanEntry, entries
from attrobust.benchmark.report.page.pictures import without_pictures
from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Metric
from attrobust.benchmark.report.training import Origin
from attrobust.benchmark.report.verdict.sentence import sentence
from attrobust.benchmark.report.verdict.view import verdict_of
from attrobust.files import read_plain, sweep, write_atomically
from attrobust.naming.validate import as_json as plain
from attrobust.types import UsageError

Json = dict[str, object]


def page(*boards: Leaderboard) -> str:
    """The leaderboard as one HTML file, see ``report.page``; the template engine is imported where a page is made."""
    from attrobust.benchmark.report.page.render import render

    return render(*boards)


def wide_csv(*boards: Leaderboard) -> str:
    """See ``report.wide``, which imports pandas."""
    from attrobust.benchmark.report.wide import render

    return render(*boards)


def write(boards: Sequence[Leaderboard], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write ``leaderboard.<suffix>`` in every format asked for; returns the paths.

    Raises:
        UsageError: the folder cannot be written.
    """
    paths = []
    sweep(folder)
    for name in formats:
        suffix, render = FORMATS[name]
        path = folder / f"leaderboard.{suffix}"
        try:
            write_atomically(path, render(*boards))
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be written ({error.strerror}); name another folder with --out"
            ) from error
        paths.append(path)
    return paths


def as_written(path: Path) -> str:
    """The text of a table on disk, byte for byte; bytes that are no text stand for themselves."""
    return read_plain(path).decode("utf-8", errors="surrogateescape")


def says_the_same(written: str, again: str) -> bool:
    """Whether a file on disk is what would be written now; the pictures of a page are left aside."""
    return written == again or without_pictures(written) == without_pictures(again)


def remove_others(folder: Path, formats: Sequence[str]) -> None:
    """Remove the tables of an earlier command in formats that are not asked for now: they would show other numbers."""
    for name, (suffix, _) in FORMATS.items():
        if name not in formats:
            (folder / f"leaderboard.{suffix}").unlink(missing_ok=True)


def as_json(*boards: Leaderboard) -> str:
    """Every number of leaderboards with all its digits, as a JSON document; undefined numbers are null."""
    found = [_whole(board) for board in boards]
    return json.dumps({"sweep": found} if len(found) > 1 else found[0], indent=2) + "\n"


def _whole(board: Leaderboard) -> Json:
    rows: list[Json] = []
    over_seeds: list[Json] = []
    for entry in entries(board):
        if isinstance(entry, LineEntry):
            rows.append(_record(entry))
        else:
            over_seeds.append(_over_seeds(entry))
    return {
        **({"where": board.where} if board.where else {}),
        **({"part": board.part} if board.part else {}),
        "comparison": plain(board.comparison),
        "interval": board.interval,
        "choices": [plain(choice.settled()) for choice in board.choices],
        **({"explainer_choices": [plain(choice.settled()) for choice in board.tuned]} if board.tuned else {}),
        "verdict": _verdict(board) if board.has_verdict else None,
        "rows": rows,
        "over_seeds": over_seeds,
    }


def _verdict(board: Leaderboard) -> Json:
    """Who wins in words, and in how many columns each method is unbeaten, in the verdict's order."""
    found = verdict_of(board)
    counts = [{"method": row.name, "unbeaten": row.unbeaten, "competes": row.competes} for row in found.rows]
    return {"sentence": sentence(found), "columns": found.counted, "of": found.basis, "methods": counts}


def _place(group: Group | None, metric: Metric) -> Json:
    return {
        "subset": group.subset if group else ALL,
        "scope": group.scope if group else "accuracy",
        "explainer": (group.explainer or None) if group else None,
        "attack": (group.attack or None) if group else metric.attack or None,
        "metric": metric.label,
        "higher_is_better": metric.higher_is_better,
    }


def _origin(origin: Origin) -> Json:
    """How a network came by its weights."""
    training = origin.training
    return {
        "model": origin.model,
        "epochs": origin.epochs,
        "recipe": training.recipe if training else None,
        "start": training.start.get("name") if training else None,
        "checkpoint": origin.checkpoint or None,
    }


def _record(entry: LineEntry) -> Json:
    line, number = entry.line, entry.number
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
        "baseline": line.baseline,
        **_origin(line.origin),
        "training_passes": line.passes,
        **_place(entry.group, entry.metric),
        "mean": _finite(values.mean) if values else None,
        "ci": [_finite(values.low), _finite(values.high)] if values else None,
        "images": values.n if values else None,
        "undefined": values.n - values.defined if values else None,
        "spread": spread,
        "feasible": number.feasible,
        "rank": number.rank,
        "best": number.best,
        "flags": [flag.name for flag in number.flags],
        "contested_by": [contest.by for contest in number.contests],
        "status": "ok" if values else "failed",
    }


def _over_seeds(entry: MeanEntry) -> Json:
    number, value = entry.number, entry.number.value
    return {
        "method": entry.mean.label,
        "method_key": entry.mean.method,
        **_origin(entry.mean.origin),
        "training_passes": entry.mean.passes,
        **_place(entry.group, entry.metric),
        "mean": _finite(value.mean) if value else None,
        "standard_error": _finite(value.error) if value else None,
        "seeds": value.count if value else None,
        "rank": number.rank,
        "best": number.rank == 1,
        "flags": [*dict.fromkeys(flag.name for flag in number.flags)],
        "status": "ok" if value else "failed",
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


FORMATS: dict[str, tuple[str, Callable[..., str]]] = {
    "csv": ("csv", csv.render),
    "latex": ("tex", latex.head),
    "markdown": ("md", text.markdown),
    "latex-full": ("full.tex", latex.render),
    "html": ("html", page),
    "wide": ("wide.csv", wide_csv),
    "json": ("json", as_json),
    "bibtex": ("bib", bibliography.render),
}
"""Of tables: by name the suffix of the file, and what writes it."""
