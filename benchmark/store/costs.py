"""What trainings cost, on disk: a run writes it when it ends, so that a page can say it without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from attrobust.benchmark.store.rows import Signed
from attrobust.files import write_atomically
from attrobust.naming.validate import MisfitError, as_json, parsed, validated

COSTS = "costs.json"


class Costs(Signed, frozen=True, kw_only=True):
    """The contents of ``costs.json``.

    Attributes:
        training_passes: by sha256 of the weights, how often an image goes through its network in the training.
    """

    training_passes: dict[str, float]


def write_costs(folder: Path, passes: Mapping[str, float]) -> None:
    """Record what the trainings of a run cost; nothing is written where that is not known of any.

    Args:
        folder: of the run.
        passes: by sha256 of the weights.
    """
    if passes:
        costs = Costs(training_passes={sha256: float(value) for sha256, value in sorted(passes.items())}).signed()
        write_atomically(folder / COSTS, json.dumps(as_json(costs), indent=2, sort_keys=True) + "\n")


def read_costs(folder: Path) -> Mapping[str, float]:
    """Passes by sha256 of the weights; empty where the run wrote none, or the file is damaged."""
    found = _read(folder / COSTS)
    return found.training_passes if found else {}


def cost_problems(folder: Path) -> list[str]:
    """One line where the file is damaged or not as it was written."""
    path = folder / COSTS
    return [f"{path} is damaged; remove it"] if path.is_file() and _read(path) is None else []


def _read(path: Path) -> Costs | None:
    try:
        found: Costs = validated(parsed(path.read_bytes()), Costs)
    except (OSError, MisfitError, ValueError):
        return None
    return found if found == found.signed() else None
