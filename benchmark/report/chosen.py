"""Whether the choices in a run's plan are those that the rows of their candidates lead to."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from attrobust.benchmark.report.labels import fits, fits_metric
from attrobust.benchmark.store.choice import Choice, candidate
from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.rows import Row
from attrobust.naming.spec import Sweep


def choice_problems(plan: Plan, rows: Mapping[str, Row]) -> list[str]:
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


def _is_candidate(label: str, row: Row) -> bool:
    method = row.cell.subject.method
    return method is not None and fits(label, method, row.wording.get("method", ()))


def _compares(choice: Choice, score: Row) -> bool:
    """Whether a choice says what its candidates were compared under."""
    cell, words = score.cell, score.wording
    explained = fits(choice.explainer, cell.explainer, words.get("explainer", ()))
    return explained and fits(choice.attack, cell.attack, words.get("attack", ())) and choice.images == cell.images
