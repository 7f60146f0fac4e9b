"""Whether a run's rows are what its scores say."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.write import FORMATS
from attrobust.benchmark.statistics import estimate, shares
from attrobust.benchmark.store.choice import Choice, candidate
from attrobust.benchmark.store.store import Row, Store, row_fingerprint
from attrobust.files import file_sha256
from attrobust.naming.spec import Sweep, fingerprint
from attrobust.threat import ThreatModel
from attrobust.types import UsageError


def verify(store: Store) -> tuple[int, list[str]]:
    """Recompute every stored number of a run from its per-image scores, check every hash, and hold the tables to them.

    A failed row counts only where the run's table shows it: one that was mended later is history.

    Returns:
        How many rows are sound, and one line for everything that is not.
    """
    plan = store.plan()
    shown = {entry["row"]: entry for entry in plan["entries"]}
    rows = store.rows()
    problems = [
        f"row {key[:12]} ({entry['explainer']}, {entry['attack']}, {entry['metric']}) is missing"
        for key, entry in shown.items()
        if key not in rows
    ]
    own = {key: row for key, row in rows.items() if row_fingerprint(row["cell"], row["metric"]) == key}
    sound = 0
    for key, row in rows.items():
        if row["status"] != "ok":
            problems += [f"row {key[:12]} ({row['metric']['label']}) failed: {row['error']}"] if key in shown else []
        elif found := _problem(store, row) if key in own else "its fingerprint is not that of its cell and metric":
            found += "; remove its line from rows.jsonl to recompute it"
            problems.append(f"row {key[:12]} ({row['metric']['label']}): {found}")
        else:
            sound += 1
    problems += _plan_problems(plan, own) + _choice_problems(plan, own) + _checkpoint_problems(store)
    if not problems:
        problems += _stale_tables(store)
    return sound, problems


def _plan_problems(plan: Row, rows: dict[str, Row]) -> list[str]:
    """Where the plan, which tables are made from, says something else than the rows it names."""
    facts, metrics = plan["comparison"], {metric["label"]: metric for metric in plan["metrics"]}
    robust = plan.get("accuracy_attack")
    found = set()
    for entry in plan["entries"]:
        row = rows.get(entry["row"])
        if row is None:
            continue
        cell, subject = row["cell"], plan["subjects"][entry["subject"]]
        method, metric = cell["subject"]["method"], metrics.get(entry["metric"])
        told = {"weights": (subject["sha256"], cell["checkpoint_sha256"])}
        if not subject["control"]:
            told["method"] = (subject["label"].partition(":")[0] if method else None, method and method["name"])
        if cell["threat"]:
            kept = bool(entry["explainer"]) and facts["keep_prediction"]
            told["threat"] = (facts["threat"], str(ThreatModel(**cell["threat"])))
            told["keep_prediction"] = (kept, cell["threat"]["keep_prediction"])
        if metric:
            told |= {"metric": (metric, row["metric"]), "label": (facts["label"], cell["label"])}
        elif entry["attack"]:
            told["accuracy_attack"] = (facts.get("accuracy_attack"), cell["attack"])
            told["metric"] = (robust and robust["metric"], row["metric"])
        if entry["explainer"]:
            told["reduction"] = (facts["reduction"], cell["reduction"])
        if entry["attack"] or (metric and metric["scope"] != "training"):
            told["images"] = (facts["images"], cell["images"])
            told["data_sha256"] = (facts["data_sha256"], cell["data_sha256"])
        found |= {name for name, (plan_says, row_says) in told.items() if plan_says != row_says}
    return [f"run.json does not say what the rows say: {name}" for name in sorted(found)]


def _choice_problems(plan: Row, rows: dict[str, Row]) -> list[str]:
    """Where a choice is not the one that the rows of its candidates, measured on the validation split, lead to."""
    found = []
    for value in plan.get("choices", []):
        choice = Choice.read(value)
        where = f"run.json: the choice from {choice.sweep}"
        again = replace(choice, candidates=tuple(candidate(c.label, c.trials, rows) for c in choice.candidates))
        if fingerprint(again.as_json()) != fingerprint(value):
            found.append(f"{where} is not what its rows say")
        if [str(spec) for spec in Sweep.parse(choice.sweep).specs] != [item.label for item in choice.candidates]:
            found.append(f"{where} does not list every member")
        for trial in (trial for item in choice.candidates for trial in item.trials):
            pair = [rows.get(trial.accuracy, {}), rows.get(trial.score, {})]
            if any(row and row["cell"]["checkpoint_sha256"] != trial.sha256 for row in pair):
                found.append(f"{where} names other weights than its rows")
            if any(row.get("split") != "val" for row in pair) or pair[1].get("metric") != choice.metric:
                found.append(
                    f"{where} rests on rows of something else than {choice.metric['label']} on validation images"
                )
        best = again.chosen
        label, weights = (best.label, {trial.sha256 for trial in best.trials}) if best else (choice.sweep, {""})
        if {subject["sha256"] for subject in plan["subjects"] if subject["label"] == label} != weights:
            found.append(f"{where} and the table differ in {label}")
    return found


def _checkpoint_problems(store: Store) -> list[str]:
    found = []
    for path in sorted((store.folder / "checkpoints").glob("*.toml")):
        weights = path.with_suffix(".pt")
        try:
            card = WeightCard.read(path)
        except UsageError as error:
            found.append(str(error))
            continue
        if not weights.is_file() or file_sha256(weights) != card.sha256:
            found.append(f"{weights} is missing or not what its card says")
    return found


def _stale_tables(store: Store) -> list[str]:
    board = build([store], store.plan()["interval"])
    paths = {store.folder / f"leaderboard.{suffix}": render for suffix, render in FORMATS.values()}
    return [
        f"{path} does not say what the rows say; write it again with report"
        for path, render in paths.items()
        if path.is_file() and path.read_text(encoding="utf-8") != render(board)
    ]


def _problem(store: Store, row: Row) -> str:
    try:
        scores, legal = store.load_scores(row)
    except UsageError as error:
        return str(error)
    again = asdict(estimate(scores, unit=row["metric"]["unit"]))
    stored = {
        "mean": row["mean"],
        "low": row["ci"][0],
        "high": row["ci"][1],
        "n": row["n"],
        "defined": row["n_defined"],
    }
    if row.get("repeats") and None not in row["repeats"]:
        stored["mean of repeats"] = sum(row["repeats"]) / len(row["repeats"])
        again["mean of repeats"] = again["mean"]
    for name, value in stored.items():
        expected = again[name]
        if value is None and math.isnan(expected):
            continue
        if value is None or not math.isclose(value, expected, rel_tol=1e-12, abs_tol=1e-12):
            return f"{name} is stored as {value} but its scores give {expected}"
    if int(legal.sum()) != row["n_legal"]:
        return f"n_legal is stored as {row['n_legal']} but its scores give {int(legal.sum())}"
    members = shares(*store.load_worst(row))
    if row.get("members", {}) != members:
        return f"members are stored as {row.get('members', {})} but its scores give {members}"
    return ""
