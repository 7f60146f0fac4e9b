"""attrobust: how far can a perturbation nobody sees move a neural network's explanation?

What plug-ins and notebooks import. Names are resolved from the rooms on first use, so importing this package is cheap:

    from attrobust import Method, register_method
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "Amount": "attrobust.types:Amount",
    "Attack": "attacks.base:Attack",
    "AttackOutput": "attacks.base:AttackOutput",
    "Batch": "methods.base:Batch",
    "Bench": "metrics.study:Bench",
    "Card": "attrobust.types:Card",
    "Case": "metrics.case:Case",
    "Context": "attacks.base:Context",
    "Cost": "attrobust.types:Cost",
    "Dataset": "benchmark.data.base:Dataset",
    "Explainer": "explainers.base:Explainer",
    "Method": "methods.base:Method",
    "ModelFamily": "benchmark.models.base:ModelFamily",
    "Normalize": "attrobust.views:Normalize",
    "Quality": "metrics.base:Quality",
    "Similarity": "metrics.base:Similarity",
    "SpatialSimilarity": "metrics.base:SpatialSimilarity",
    "Study": "metrics.study:Study",
    "ThreatModel": "attrobust.types:ThreatModel",
    "UsageError": "attrobust.types:UsageError",
    "differentiable": "explainers.differentiable:differentiable",
    "load": "benchmark.zoo:load",
    "memory_budget": "explainers.chunks:memory_budget",
    "reduce_map": "attrobust.reduction:reduce_map",
    "register_attack": "attacks:register",
    "register_dataset": "benchmark.data:register",
    "register_explainer": "explainers:register",
    "register_method": "methods:register",
    "register_metric": "metrics:register",
    "register_model": "benchmark.models:register",
    "softplus_view": "attrobust.views:softplus_view",
}

__all__ = sorted(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'attrobust' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    room = module.partition(".")[0]
    _check_room(room)
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def check_rooms() -> None:
    """Raise ImportError where another package shadows one of the four rooms."""
    for room in ("methods", "explainers", "attacks", "metrics"):
        _check_room(room)


def _check_room(room: str) -> None:
    """Raise ImportError naming the intruder when another package of the same, generic, name shadows a room of ours."""
    spec = find_spec(room)
    home = Path(__file__).resolve().parent.parent
    if spec is None or spec.origin is None:
        raise ImportError(f"package {room!r} of attrobust is missing beside {home}")
    found = Path(spec.origin).resolve().parent
    if found != home / room:
        raise ImportError(f"attrobust needs its own package {room!r} at {home / room}, but {found} shadows it")
