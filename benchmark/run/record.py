"""What a run records of what was asked for: the facts its rows share, the columns, and where every row stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrobust.attacks.base import Attack
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.cells import accuracy_facts, metric_facts
from attrobust.benchmark.store.provenance import EVALUATION, code_digest
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.naming.component import Component


def record_of(
    request: Request,
    data_sha256: str,
    subjects: Sequence[dict[str, Any]],
    entries: Sequence[dict[str, Any]],
    argv: Sequence[str],
) -> dict[str, Any]:
    """The contents of ``run.json``.

    Args:
        request: of the run.
        data_sha256: of the attacked images.
        subjects: the rows of the table.
        entries: where each stored row stands in it.
        argv: as typed.
    """
    protocol, attack = request.protocol, request.accuracy_attack
    plugins = [type(item.item) for item in request.explainers] + [type(item.item) for item in request.attacks]
    plugins += [type(attack.item)] if attack else []
    comparison = {
        "protocol": protocol.title,
        "dataset": request.dataset.label,
        "model": request.model.label,
        "images": protocol.images,
        "data_sha256": data_sha256,
        "threat": str(protocol.threat),
        "keep_prediction": protocol.keep_prediction,
        "label": protocol.label,
        "reduction": protocol.reduction,
        "seed": protocol.evaluation_seed,
        "explainers": [item.canonical for item in request.explainers],
        "attacks": [item.canonical for item in request.attacks],
        "accuracy_attack": attack and attack.canonical,
        "code": code_digest(EVALUATION, plugins),
    }
    return {
        "schema": SCHEMA,
        "comparison": comparison,
        "explainers": [item.label for item in request.explainers],
        "attacks": [_attack_facts(item) for item in request.attacks],
        "metrics": [metric_facts(item) for item in request.metrics],
        "accuracy_attack": attack and {"label": attack.label, "metric": accuracy_facts(attack)},
        "subjects": subjects,
        "entries": entries,
        "interval": request.interval,
        "recipe": request.recipe.shared(),
        "argv": argv,
    }


def _attack_facts(attack: Component[Attack]) -> dict[str, Any]:
    """What tables have to know of an attack; ``follows_gradient`` is whether the gradients are the network's own."""
    return {"label": attack.label, "name": attack.name, "follows_gradient": attack.item.follows_gradient}
