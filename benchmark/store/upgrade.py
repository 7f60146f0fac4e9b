"""What older versions wrote, in the form of today: done in memory when a file is read, never on disk.

Schema 2 had other words, and left out what could be told from the rest. Schema 3 said how networks were trained of the
run and not of each. A row's fingerprint is that of its cell as written, so it is held against the line itself, see
``RowFile.examined``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.rows import Row
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.naming.spec import Spec
from attrobust.naming.validate import MisfitError, validated
from attrobust.types import Settings

T = TypeVar("T")

OLDEST = 2
"""The first schema that is still read."""
RENAMED = {"n_feasible": "n_legal", "source_model_sha256": "donor_sha256", "baseline": "control"}
"""Keys of today and what schema 2 called them."""


UNTRAINED, SCRATCH = "untrained", "scratch"
"""The baseline whose model is the run's, and where methods start that go on from no trained weights."""
FEASIBLE = ("feasible", "legal")
"""Names of an array of a file of scores: today's, and that of schema 2."""
COLUMNS = {"baseline": "control", "feasible": "legal"}
"""Columns of CSV tables, and what they were called beside schema 2."""


class OtherVersionError(ValueError):
    """A row or a plan of a version that this one does not read."""


def read_row(value: Any) -> Row:
    """A line of ``rows.jsonl``, of any schema that is read.

    Raises:
        MisfitError: it is none; says where, in the words of its schema.
        OtherVersionError: it is of another schema.
    """
    row: Row = _read(value, Row, _upgraded_row)
    return row


def read_plan(value: Any) -> Plan:
    """The contents of ``run.json``, of any schema that is read; raises as ``read_row`` does."""
    plan: Plan = _read(value, Plan, _upgraded_plan)
    return plan


def _read(value: Any, kind: Any, upgraded: Callable[[Settings], Settings]) -> Any:
    schema = value.get("schema") if isinstance(value, dict) else None
    old = type(schema) is int and schema < SCHEMA
    if type(schema) is int and not OLDEST <= schema <= SCHEMA:
        age = "a newer" if schema > SCHEMA else "an older"
        raise OtherVersionError(f"schema {schema}, of {age} version; this one reads {OLDEST} to {SCHEMA}")
    try:
        return validated(upgraded(value) if old else value, kind)
    except MisfitError as error:
        words = RENAMED if old else {}
        place = ".".join(words.get(part, part) for part in error.place.split("."))
        raise MisfitError(place, error.problem) from error


def feasible_of(arrays: Mapping[str, T]) -> T:
    """Whether the attack on each image obeyed the rules, from a file of scores of any version."""
    return next(arrays[name] for name in FEASIBLE if name in arrays)


def in_older_words(table: str) -> str:
    """The text of a table as it was written beside schema 2, before columns and a note had other words."""
    header, newline, rest = table.partition("\n")
    columns = ",".join(COLUMNS.get(name, name) for name in header.split(","))
    return columns + newline + rest.replace("attacks were not feasible and", "attacks were not legal and")


def _upgraded_row(row: Settings) -> Settings:
    """What does not fit is left for the validator."""
    if row["schema"] > OLDEST:
        return row | {"schema": SCHEMA}
    new: Settings = _renamed(row, "n_feasible") | {"schema": SCHEMA}
    if "cell" in row:
        new["cell"] = _renamed(row["cell"], "source_model_sha256")
    if "metric" in row:
        new["metric"] = _filled(row["metric"], scope="accuracy")
    return new


def _upgraded_plan(plan: Settings) -> Settings:
    """What does not fit is left for the validator."""
    new = {key: value for key, value in plan.items() if key != "recipe"} | {"schema": SCHEMA}
    subjects, robust = plan.get("subjects"), plan.get("accuracy_attack")
    if plan["schema"] == OLDEST:
        if "comparison" in plan:
            new["comparison"] = _filled(plan["comparison"], accuracy_attack=None)
        if isinstance(subjects, list):
            subjects = [_filled(_renamed(subject, "baseline"), training="") for subject in subjects]
        if isinstance(robust, dict) and "metric" in robust:
            new["accuracy_attack"] = {**robust, "metric": _filled(robust["metric"], scope="accuracy")}
    if isinstance(subjects, list):
        new["subjects"] = [_with_training(subject, plan) for subject in subjects]
    return new


def _with_training(subject: Any, plan: Settings) -> Any:
    """With what schema 3 said of the run, and not of every network."""
    if not isinstance(subject, dict):
        return subject
    method, model, typed = subject.get("method"), subject.get("model"), _model(plan)
    settings: Any = method.get("settings") if isinstance(method, dict) else None
    # A sweep that nothing was chosen from is no network.
    is_trained = isinstance(settings, dict) and set(settings) != {"sweep"}
    architecture = typed
    if not is_trained and subject.get("label") != UNTRAINED and isinstance(model, dict):
        architecture = _spelled(model)
    trained = _training(subject.get("seed"), settings, plan.get("recipe")) if is_trained else None
    return {**subject, "trained": trained, "checkpoint": "", "architecture": architecture}


def _training(seed: Any, settings: Settings, recipe: Any) -> Any:
    start = settings.get("start", SCRATCH)
    if isinstance(recipe, dict) and start == SCRATCH:
        recipe = {key: value for key, value in recipe.items() if key not in ("tuning_epochs", "tuning_rate")}
    named = {} if start == SCRATCH else {"name": start}
    return {"seed": seed, "recipe": recipe, "start": named, "dataset": {}, "plugins": []}


def _model(plan: Settings) -> Any:
    comparison = plan.get("comparison")
    return comparison.get("model", "") if isinstance(comparison, dict) else ""


def _spelled(model: Settings) -> str:
    settings = model.get("settings")
    values = {key: str(value) for key, value in settings.items()} if isinstance(settings, dict) else {}
    return str(Spec(str(model.get("name")), values))


def _renamed(value: Any, name: str) -> Any:
    old = RENAMED[name]
    if not isinstance(value, dict) or old not in value:
        return value
    return {name if key == old else key: item for key, item in value.items()}


def _filled(value: Any, **defaults: str | None) -> Any:
    """With what runs of schema 2 did not say yet."""
    return {**defaults, **value} if isinstance(value, dict) else value
