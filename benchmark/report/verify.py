"""Whether a run's rows are what its scores say."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from attrobust.benchmark.report.cards import read_cards, row_problems
from attrobust.benchmark.report.claims import plan_problems
from attrobust.benchmark.report.contests import contest_problems
from attrobust.benchmark.report.labels import fits, fits_metric
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.older import older_tables
from attrobust.benchmark.report.processes import each
from attrobust.benchmark.report.write import FORMATS
from attrobust.benchmark.statistics import Estimate, estimates, shares
from attrobust.benchmark.store.arrays import PerImage
from attrobust.benchmark.store.audits import Audits
from attrobust.benchmark.store.choice import Choice, candidate
from attrobust.benchmark.store.pieces import Pieces
from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.rows import FailedRow, MetricFacts, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.naming.spec import Sweep
from attrobust.types import UsageError

TOGETHER = 10_000_000
"""Scores that are in memory at once, but for one row with more."""


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
    wrong_numbers = _wrong_numbers(store, [row for key, row in rows.items() if key not in misnamed])
    for key, row in rows.items():
        where = f"row {key[:12]} ({row.metric.label})"
        if isinstance(row, FailedRow):
            problems += [f"{where} failed: {row.error}"] if key in shown else []
        elif (
            found := "its fingerprint is not that of its cell and metric"
            if key in misnamed
            else wrong_numbers.get(key, "")
        ):
            problems.append(f"{where}: {found}; remove its line from rows.jsonl to recompute it")
        elif not row.is_as_written:
            problems.append(f"{where} is not as the run wrote it; remove its line from rows.jsonl to recompute it")
        else:
            sound += 1
    own = {key: row for key, row in rows.items() if key not in misnamed}
    cards, wrong = read_cards(store)
    problems += [*Pieces(store.folder).problems(), *Audits(store.folder).problems()]
    problems += [*wrong, *row_problems(own, cards), *plan_problems(plan, own, cards), *_choice_problems(plan, own)]
    problems += contest_problems(store, own)
    if not problems:
        problems += _stale_tables(store)
    return sound, problems


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
        for label, trial in ((item.label, trial) for item in choice.candidates for trial in item.trials):
            accuracy, score = rows.get(trial.accuracy), rows.get(trial.score)
            if any(row and row.cell.checkpoint_sha256 != trial.sha256 for row in (accuracy, score)):
                found.append(f"{where} names other weights than its rows")
            if any(row and row.trained and row.trained.seed != trial.seed for row in (accuracy, score)):
                found.append(f"{where} names other seeds than its rows")
            validation = accuracy and score and {accuracy.split, score.split} == {"val"}
            if (
                not validation
                or not score
                or not fits_metric(choice.metric, score.metric, score.wording.get("metric", ()))
            ):
                found.append(f"{where} rests on rows of something else than {choice.metric.label} on validation images")
            if any(row and not _is_candidate(label, row) for row in (accuracy, score)):
                found.append(f"{where} names other methods than its rows")
            if score and not _compares(choice, score):
                found.append(f"{where} names another attack, explainer or number of images than its rows")
        best = again.best
        shown, weights = (best.label, {trial.sha256 for trial in best.trials}) if best else (choice.sweep, {""})
        if {subject.sha256 for subject in plan.subjects if subject.label == shown} != weights:
            found.append(f"{where} and the table differ in {shown}")
    return found


def _has_metric(row: Row, metric: MetricFacts) -> bool:
    return fits_metric(metric, row.metric, row.wording.get("metric", ()))


def _is_candidate(label: str, row: Row) -> bool:
    method = row.cell.subject.method
    return method is not None and fits(label, method, row.wording.get("method", ()))


def _compares(choice: Choice, score: Row) -> bool:
    """Whether a choice says what its candidates were compared under."""
    cell, words = score.cell, score.wording
    explained = fits(choice.explainer, cell.explainer, words.get("explainer", ()))
    return explained and fits(choice.attack, cell.attack, words.get("attack", ())) and choice.images == cell.images


def _stale_tables(store: Store) -> list[str]:
    plan = store.plan()
    if plan.shard and len(plan.shard.starts) > 1:
        return []
    board = build([store], plan.interval)
    problems = []
    for suffix, render in FORMATS.values():
        path = store.folder / f"leaderboard.{suffix}"
        # What older versions wrote as LaTeX, beside plans without a digest, has a form that is no longer made.
        if path.is_file() and (plan.digest or suffix != "tex"):
            written = path.read_text(encoding="utf-8")
            if written != render(board) and (plan.digest or written not in older_tables(render, board)):
                problems.append(f"{path} does not say what the rows say; write it again with report")
    return problems


def _wrong_numbers(store: Store, rows: Sequence[Row]) -> dict[str, str]:
    """By fingerprint, what of a row is not what its scores give."""
    scored = [row for row in rows if isinstance(row, ScoredRow)]
    size = max(1, TOGETHER // max((row.n for row in scored), default=1))
    parts = [scored[start : start + size] for start in range(0, len(scored), size)]
    find = functools.partial(_wrong_in, store)
    found: dict[str, str] = {}
    for part in each(find, parts, scores=sum(row.n for row in scored), words="rows"):
        found |= part
    return found


def _wrong_in(store: Store, rows: Sequence[ScoredRow]) -> dict[str, str]:
    found: dict[str, str] = {}
    pairs = []
    for row in rows:
        try:
            pairs.append((row, store.load(row)))
        except UsageError as error:
            found[row.fingerprint] = str(error)
    intervals = estimates([item.scores for _, item in pairs], [row.metric.unit for row, _ in pairs])
    for (row, item), interval in zip(pairs, intervals, strict=True):
        if problem := _problem(row, item, interval):
            found[row.fingerprint] = problem
    return found


def _problem(row: ScoredRow, loaded: PerImage, again: Estimate) -> str:
    pairs = {
        "mean": (row.mean, again.mean),
        "low": (row.ci[0], again.low),
        "high": (row.ci[1], again.high),
        "n": (row.n, again.n),
        "defined": (row.n_defined, again.defined),
    }
    repeats = [value for value in row.repeats or () if value is not None]
    if repeats and len(repeats) == len(row.repeats or ()):
        pairs["mean of repeats"] = sum(repeats) / len(repeats), again.mean
    for name, (value, expected) in pairs.items():
        if value is None and math.isnan(expected):
            continue
        if value is None or not math.isclose(value, expected, rel_tol=1e-12, abs_tol=1e-12):
            return f"{name} is stored as {value} but its scores give {expected}"
    if int(loaded.feasible.sum()) != row.n_feasible:
        return f"n_feasible is stored as {row.n_feasible} but its scores give {int(loaded.feasible.sum())}"
    members = shares(loaded.worst, loaded.members)
    if (row.members or {}) != members:
        return f"members are stored as {row.members or {}} but its scores give {members}"
    return ""
