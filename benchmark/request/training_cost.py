"""What a training costs, in passes: from its recipe and what the method says of a step."""

from __future__ import annotations

from attrobust import methods
from attrobust.benchmark.store.rows import Training
from attrobust.benchmark.training.recipe import tuning_epochs
from attrobust.naming.spec import build, spec_of
from attrobust.types import Named


def training_passes(method: Named, training: Training, classes: int) -> float | None:
    """How often each image goes through a network in training, forward, backward or to differentiate a gradient again.

    The training of the weights that it went on from counts too. None where a method is a plug-in that is not loaded, or
    does not state its cost.

    Args:
        method: with all its settings.
        training: how the network was trained by it.
        classes: of the images.
    """
    epochs, share = training.recipe.get("epochs"), training.recipe.get("tuning_epochs")
    step = _step(method, classes)
    if step is None or not isinstance(epochs, (int, float)):
        return None
    if not training.start:
        return float(step * epochs)
    before = _step(training.start, classes)
    if before is None or not isinstance(share, (int, float)):
        return None
    return float(step * tuning_epochs(int(epochs), share) + before * epochs)


def _step(named: Named, classes: int) -> float | None:
    """Passes of a training step."""
    try:
        cost = build(methods.registry.get(named.get("name", "")), spec_of(named)).cost(classes)
        return None if cost is None else cost.forward + cost.backward + cost.double_backward
    except Exception:  # A plug-in is not loaded, or is another one by now than the one of the run.
        return None
