"""What trainings cost, in passes: from the recipes in rows and what each method says of a step."""

from __future__ import annotations

from collections.abc import Iterable

from attrobust import methods
from attrobust.benchmark.store.rows import Row, Training
from attrobust.benchmark.training.recipe import tuning_epochs
from attrobust.naming.spec import build, spec_of
from attrobust.types import Named, UsageError


def training_passes(rows: Iterable[Row]) -> dict[str, float]:
    """By sha256 of the weights, how often an image goes through its network while that is trained, where it is known.

    It is epochs times the forward, backward and double-backward passes of a step, with those of the weights that a
    training went on from.
    """
    done: set[str] = set()
    found: dict[str, float] = {}
    for row in rows:
        sha256, method = row.cell.checkpoint_sha256, row.cell.subject.method
        if sha256 in done or row.trained is None or method is None:
            continue
        done.add(sha256)
        passes = _passes(method, row.trained, row.cell.subject.images.classes)
        if passes is not None:
            found[sha256] = passes
    return found


def _passes(method: Named, training: Training, classes: int) -> float | None:
    """Of one image over a whole training."""
    epochs, share = training.recipe.get("epochs"), training.recipe.get("tuning_epochs")
    step = _step(method, classes)
    if step is None or not isinstance(epochs, (int, float)):
        return None
    if not training.start:
        return step * epochs
    before = _step(training.start, classes)
    if before is None or not isinstance(share, (int, float)):
        return None
    return step * tuning_epochs(int(epochs), share) + before * epochs


def _step(named: Named, classes: int) -> float | None:
    """Passes of a training step."""
    try:
        cost = build(methods.registry.get(named.get("name", "")), spec_of(named)).cost(classes)
    except UsageError:
        return None
    return None if cost is None else cost.forward + cost.backward + cost.double_backward
