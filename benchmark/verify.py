"""Whether a run's rows are what its scores say."""

from __future__ import annotations

import math
from dataclasses import asdict

from attrobust.types import UsageError
from benchmark.cards import WeightCard
from benchmark.files import file_sha256
from benchmark.report.leaderboard import build
from benchmark.report.write import FORMATS
from benchmark.statistics import estimate
from benchmark.store import Row, Store, row_fingerprint


def verify(store: Store) -> tuple[int, list[str]]:
    """Recompute every stored number of a run from its per-image scores, check every hash, and hold the tables to them.

    A failed row counts only where the run's table shows it: one that was mended later is history.

    Returns:
        How many rows are sound, and one line for everything that is not.
    """
    shown = {entry["row"]: entry for entry in store.plan()["entries"]}
    rows = store.rows()
    problems = [
        f"row {key[:12]} ({entry['explainer']}, {entry['attack']}, {entry['metric']}) is missing"
        for key, entry in shown.items()
        if key not in rows
    ]
    sound = 0
    for key, row in rows.items():
        if row["status"] != "ok":
            problems += [f"row {key[:12]} ({row['metric']['label']}) failed: {row['error']}"] if key in shown else []
        elif found := _problem(store, row):
            problems.append(f"row {key[:12]} ({row['metric']['label']}): {found}")
        else:
            sound += 1
    for path in sorted((store.folder / "checkpoints").glob("*.toml")):
        weights = path.with_suffix(".pt")
        if not weights.is_file() or file_sha256(weights) != WeightCard.read(path).sha256:
            problems.append(f"{weights} is missing or not what its card says")
    if not problems:
        problems += _stale_tables(store)
    return sound, problems


def _stale_tables(store: Store) -> list[str]:
    board = build([store])
    paths = {store.folder / f"leaderboard.{suffix}": render for suffix, render in FORMATS.values()}
    return [
        f"{path} does not say what the rows say; write it again with report"
        for path, render in paths.items()
        if path.is_file() and path.read_text(encoding="utf-8") != render(board)
    ]


def _problem(store: Store, row: Row) -> str:
    if row_fingerprint(row["cell"], row["metric"]) != row["fingerprint"]:
        return "its fingerprint is not that of its cell and metric"
    try:
        scores, legal = store.load_scores(row)
    except UsageError as error:
        return str(error)
    again = asdict(estimate(scores))
    stored = {
        "mean": row["mean"],
        "low": row["ci"][0],
        "high": row["ci"][1],
        "n": row["n"],
        "defined": row["n_defined"],
    }
    for name, value in stored.items():
        expected = again[name]
        if value is None and math.isnan(expected):
            continue
        if value is None or not math.isclose(value, expected, rel_tol=1e-12, abs_tol=1e-12):
            return f"{name} is stored as {value} but its scores give {expected}"
    if int(legal.sum()) != row["n_legal"]:
        return f"n_legal is stored as {row['n_legal']} but its scores give {int(legal.sum())}"
    return ""
