"""Which board a run could be part of, and in which settings it differs from the others. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.boards.board import TRACKS, Track, boards_in, read_facts, stores_of
from attrobust.benchmark.store.plan import Comparison, Plan
from attrobust.benchmark.store.rows import MetricFacts, Training
from attrobust.benchmark.store.store import Store
from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json
from attrobust.types import UsageError

COLUMNS = ("explainers", "attacks", "metrics")
"""Of which a run may have more than the board."""
LONG = ("data_sha256", "accuracy_attack")
"""Facts that are too long to quote."""


@dataclass(frozen=True)
class Fit:
    """How a run stands to a board.

    Attributes:
        board: name.
        differences: settings in which it differs, one line each; empty where it fits.
        track: that it is for.
        why: which rows are why it is not of the track of the board's recipe; empty where it is.
    """

    board: str
    differences: tuple[str, ...]
    track: Track
    why: tuple[str, ...]

    @property
    def words(self) -> str:
        """Board and track."""
        return f"{self.board}, track {self.track} ({TRACKS[self.track]})"


def fits_of(run: Path, results: Path) -> list[Fit]:
    """How a run or a sweep stands to every board below a folder; submissions are no boards."""
    found = []
    for name in boards_in(results):
        try:
            if read_facts(results / name).of:
                continue
        except UsageError:
            continue  # The rules say so of the board.
        found.append(_fit(stores_of(run), stores_of(results / name), name))
    return found


def _fit(mine: Mapping[str, Store], theirs: Mapping[str, Store], name: str) -> Fit:
    differences = []
    for words, store in theirs.items():
        if words not in mine:
            what = f"lacks the table {words}" if words else "is a sweep, and the board a single run"
            if words and len(theirs) > 1:
                what += f" (the board has {len(theirs)} tables, and a run of its protocol makes all)"
            differences.append(what)
            continue
        found = _differences(mine[words].plan(), store.plan())
        differences += [f"{words}: {line}" if words else line for line in found]
    plans = [store.plan() for store in theirs.values()]
    why = [line for store in mine.values() for line in _not_of_recipe(store.plan(), plans)]
    return Fit(name, tuple(differences), "weights" if why else "recipe", tuple(dict.fromkeys(why)))


def _differences(mine: Plan, theirs: Plan) -> Iterator[str]:
    """Settings in which two tables are not about the same thing; other code is no difference, see ``recompute``."""
    for key in sorted(set(Comparison.__struct_fields__) - {"code", *COLUMNS}):
        ours, wanted = getattr(mine.comparison, key), getattr(theirs.comparison, key)
        if ours != wanted and not (key == "model" and not (ours and wanted)):
            yield f"other {key}" if key in LONG else f"{key} is {ours}, and the board's is {wanted}"
    for key in ("explainers", "attacks"):
        known = {fingerprint(item) for item in getattr(mine.comparison, key)}
        labels = [item if isinstance(item, str) else item.label for item in getattr(theirs, key)]
        wanted_items = getattr(theirs.comparison, key)
        lacking = [label for label, item in zip(labels, wanted_items, strict=True) if fingerprint(item) not in known]
        if lacking:
            yield f"lacks {key} {', '.join(lacking)}"
    metrics = {_metric(item) for item in mine.metrics}
    if lacking := [item.label for item in theirs.metrics if _metric(item) not in metrics]:
        yield f"lacks metrics {', '.join(lacking)}"


def _metric(facts: MetricFacts) -> str:
    return fingerprint([facts.name, facts.settings, facts.plugin])


def _not_of_recipe(plan: Plan, boards: list[Plan]) -> Iterator[str]:
    """Why rows are not trained as the board's are."""
    subjects = [subject for board in boards for subject in board.subjects]
    recipes = {_recipe(subject.trained) for subject in subjects if subject.trained}
    models = {fingerprint(subject.model) for subject in subjects if subject.trained}
    for subject in plan.subjects:
        if subject.baseline:
            continue
        if subject.trained is None:
            yield f"{subject.label}: its weights were handed in"
        elif _recipe(subject.trained) not in recipes:
            yield f"{subject.label}: trained by another recipe than any row of the board"
        elif fingerprint(subject.model) not in models:
            yield f"{subject.label}: another architecture than any row of the board"


def _recipe(trained: Training) -> str:
    """What of a training is the recipe: all but what follows trained weights."""
    recipe = {key: value for key, value in trained.recipe.items() if not key.startswith("tuning_")}
    return fingerprint([recipe, as_json(trained.dataset)])
