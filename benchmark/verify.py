"""Whether a run's rows are what its scores say."""

from __future__ import annotations

import math
from dataclasses import asdict

from attrobust.spec import fingerprint
from attrobust.types import UsageError
from benchmark.statistics import estimate
from benchmark.store import Row, Store


def verify(store: Store) -> tuple[int, list[str]]:
    """Recompute every stored number of a run from its per-image scores and check every hash.

    Returns:
        How many rows are sound, and one line for each that is not.
    """
    plan = store.plan()
    rows = store.rows()
    problems = [
        f"row {entry['row'][:12]} ({entry['explainer']}, {entry['attack']}, {entry['metric']}) is missing"
        for entry in plan["entries"]
        if entry["row"] not in rows
    ]
    sound = 0
    for key, row in rows.items():
        found = _problem(store, row)
        if found:
            problems.append(f"row {key[:12]} ({row['metric']['label']}): {found}")
        else:
            sound += 1
    return sound, problems


def _problem(store: Store, row: Row) -> str:
    metric = {key: row["metric"][key] for key in ("name", "settings")}
    if fingerprint([row["cell"], metric]) != row["fingerprint"]:
        return "its fingerprint is not that of its cell and metric"
    if row["status"] != "ok":
        return f"failed: {row['error']}"
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
