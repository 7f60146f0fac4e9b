"""Whether a run's rows are what its scores say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

from msgspec.structs import replace

from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.write import FORMATS
from attrobust.benchmark.statistics import estimate, shares
from attrobust.benchmark.store.choice import candidate
from attrobust.benchmark.store.plan import Entry, Plan
from attrobust.benchmark.store.rows import FailedRow, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.upgrade import in_older_words
from attrobust.files import file_sha256
from attrobust.naming.spec import Sweep
from attrobust.threat import ThreatModel
from attrobust.types import UsageError


def verify(store: Store) -> tuple[int, list[str]]:
    """Recompute every stored number of a run from its per-image scores, check every hash, and hold the tables to them.

    A failed row counts only where the run's table shows it: one that was mended later is history.

    Returns:
        How many rows are sound, and one line for everything that is not.
    """
    plan = store.plan()
    shown = {entry.row: entry for entry in plan.entries}
    rows, misnamed = store.rows(), store.misnamed()
    problems = [
        f"row {key[:12]} ({entry.explainer}, {entry.attack}, {entry.metric}) is missing"
        for key, entry in shown.items()
        if key not in rows
    ]
    sound = 0
    for key, row in rows.items():
        where = f"row {key[:12]} ({row.metric.label})"
        if isinstance(row, FailedRow):
            problems += [f"{where} failed: {row.error}"] if key in shown else []
        elif found := "its fingerprint is not that of its cell and metric" if key in misnamed else _problem(store, row):
            problems.append(f"{where}: {found}; remove its line from rows.jsonl to recompute it")
        else:
            sound += 1
    own = {key: row for key, row in rows.items() if key not in misnamed}
    problems += _plan_problems(plan, own) + _choice_problems(plan, own) + _checkpoint_problems(store)
    if not problems:
        problems += _stale_tables(store)
    return sound, problems


def _plan_problems(plan: Plan, rows: Mapping[str, Row]) -> list[str]:
    """Where the plan, which tables are made from, says something else than the rows it names."""
    found: set[str] = set()
    for entry in plan.entries:
        if row := rows.get(entry.row):
            claims = _claims(plan, entry, row)
            found |= {name for name, (plan_says, row_says) in claims.items() if plan_says != row_says}
    return [f"run.json does not say what the rows say: {name}" for name in sorted(found)]


def _claims(plan: Plan, entry: Entry, row: Row) -> dict[str, tuple[object, object]]:
    """By name, what the plan says of a row and what the row says."""
    facts, cell, subject = plan.comparison, row.cell, plan.subjects[entry.subject]
    metric = next((metric for metric in plan.metrics if metric.label == entry.metric), None)
    method, robust = cell.subject.method, plan.accuracy_attack
    claims: dict[str, tuple[object, object]] = {"weights": (subject.sha256, cell.checkpoint_sha256)}
    if not subject.baseline:
        claims["method"] = (subject.label.partition(":")[0] if method else None, method and method.get("name"))
    if cell.threat:
        kept = bool(entry.explainer) and facts.keep_prediction
        claims["threat"] = (facts.threat, str(ThreatModel(**cell.threat)))
        claims["keep_prediction"] = (kept, cell.threat.get("keep_prediction"))
    if metric:
        claims |= {"metric": (metric, row.metric), "label": (facts.label, cell.label)}
    elif entry.attack:
        claims["accuracy_attack"] = (facts.accuracy_attack, cell.attack)
        claims["metric"] = (robust and robust.metric, row.metric)
    if entry.explainer:
        claims["reduction"] = (facts.reduction, cell.reduction)
    if entry.attack or (metric and metric.scope != "training"):
        claims["images"] = (facts.images, cell.images)
        claims["data_sha256"] = (facts.data_sha256, cell.data_sha256)
    return claims


def _choice_problems(plan: Plan, rows: Mapping[str, Row]) -> list[str]:
    """Where a choice is not the one that the rows of its candidates, measured on the validation split, lead to."""
    found = []
    for choice in plan.choices:
        where = f"run.json: the choice from {choice.sweep}"
        candidates = tuple(candidate(item.label, item.trials, rows) for item in choice.candidates)
        again = replace(choice, candidates=candidates).settled()
        if again != choice:
            found.append(f"{where} is not what its rows say")
        if [str(spec) for spec in Sweep.parse(choice.sweep).specs] != [item.label for item in choice.candidates]:
            found.append(f"{where} does not list every member")
        for trial in (trial for item in choice.candidates for trial in item.trials):
            accuracy, score = rows.get(trial.accuracy), rows.get(trial.score)
            if any(row and row.cell.checkpoint_sha256 != trial.sha256 for row in (accuracy, score)):
                found.append(f"{where} names other weights than its rows")
            validation = accuracy and score and {accuracy.split, score.split} == {"val"}
            if not validation or not score or score.metric != choice.metric:
                found.append(f"{where} rests on rows of something else than {choice.metric.label} on validation images")
        best = again.best
        label, weights = (best.label, {trial.sha256 for trial in best.trials}) if best else (choice.sweep, {""})
        if {subject.sha256 for subject in plan.subjects if subject.label == label} != weights:
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
    board = build([store], store.plan().interval)
    problems = []
    for suffix, render in FORMATS.values():
        path = store.folder / f"leaderboard.{suffix}"
        if path.is_file():
            table, written = render(board), path.read_text(encoding="utf-8")
            if written not in (table, in_older_words(table)):
                problems.append(f"{path} does not say what the rows say; write it again with report")
    return problems


def _problem(store: Store, row: ScoredRow) -> str:
    try:
        scores, feasible = store.load_scores(row)
    except UsageError as error:
        return str(error)
    again = asdict(estimate(scores, unit=row.metric.unit))
    stored = {"mean": row.mean, "low": row.ci[0], "high": row.ci[1], "n": row.n, "defined": row.n_defined}
    repeats = [value for value in row.repeats or () if value is not None]
    if repeats and len(repeats) == len(row.repeats or ()):
        stored["mean of repeats"] = sum(repeats) / len(repeats)
        again["mean of repeats"] = again["mean"]
    for name, value in stored.items():
        expected = again[name]
        if value is None and math.isnan(expected):
            continue
        if value is None or not math.isclose(value, expected, rel_tol=1e-12, abs_tol=1e-12):
            return f"{name} is stored as {value} but its scores give {expected}"
    if int(feasible.sum()) != row.n_feasible:
        return f"n_feasible is stored as {row.n_feasible} but its scores give {int(feasible.sum())}"
    members = shares(*store.load_worst(row))
    if (row.members or {}) != members:
        return f"members are stored as {row.members or {}} but its scores give {members}"
    return ""
