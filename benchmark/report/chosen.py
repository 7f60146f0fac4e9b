"""Whether the choices in a run's plan are those that the rows of their candidates lead to."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from attrobust.benchmark.report.labels import fits, fits_metric
from attrobust.benchmark.store.choice import Choice, candidate
from attrobust.benchmark.store.explainer_choice import ExplainerChoice, explainer_candidate
from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.rows import Row
from attrobust.naming.spec import Sweep

_Network = tuple[str, int | None, str]
"""Label, seed and hash of the weights."""


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


def tuning_problems(plan: Plan, rows: Mapping[str, Row]) -> list[str]:
    """Where a choice of an explainer's settings is not the one that the rows of its candidates lead to."""
    networks = [(item.label, item.seed, item.sha256) for item in plan.subjects if not item.baseline]
    found = []
    for choice in plan.explainer_choices or ():
        where = f"run.json: the choice from {choice.sweep}"
        again = replace(
            choice,
            candidates=tuple(explainer_candidate(item.label, item.trials, rows) for item in choice.candidates),
        ).settled()
        if again != choice:
            found.append(f"{where} is not what its rows say")
        members = [str(spec) for spec in Sweep.parse(choice.sweep).specs]
        if members != [item.label for item in choice.candidates]:
            found.append(f"{where} does not list every member")
        if {again.shown} != {label for label in plan.explainers if label in members}:
            found.append(f"{where} and the columns of the table differ")
        for item in choice.candidates:
            if not _same_networks([(trial.network, trial.seed, trial.sha256) for trial in item.trials], networks):
                found.append(f"{where} names other networks than the table")
            for trial in item.trials:
                row = rows.get(trial.score)
                if trial.sha256 and not (row and _is_of(choice, item.label, trial.sha256, row)):
                    found.append(f"{where} rests on rows of something else than {item.label} on validation images")
    return list(dict.fromkeys(found))


def _same_networks(mine: list[_Network], theirs: list[_Network]) -> bool:
    """Whether networks are the same; weights that a shard did not meet are unknown in its table."""
    return [item[:2] for item in mine] == [item[:2] for item in theirs] and all(
        ours[2] == other[2] or not other[2] for ours, other in zip(mine, theirs, strict=True)
    )


def _is_of(choice: ExplainerChoice, label: str, sha256: str, row: Row) -> bool:
    """Whether a row is what a trial says: of these weights and settings, by the metric, without an attack."""
    cell, words = row.cell, row.wording
    return (
        row.split == "val"
        and cell.checkpoint_sha256 == sha256
        and not cell.attack
        and cell.images == choice.images
        and fits(label, cell.explainer, words.get("explainer", ()))
        and fits_metric(choice.metric, row.metric, words.get("metric", ()))
    )


def _is_candidate(label: str, row: Row) -> bool:
    method = row.cell.subject.method
    return method is not None and fits(label, method, row.wording.get("method", ()))


def _compares(choice: Choice, score: Row) -> bool:
    """Whether a choice says what its candidates were compared under."""
    cell, words = score.cell, score.wording
    explained = fits(choice.explainer, cell.explainer, words.get("explainer", ()))
    return explained and fits(choice.attack, cell.attack, words.get("attack", ())) and choice.images == cell.images
