"""Flags of what a network and an explainer answer before anything is attacked."""

from __future__ import annotations

import torch
from torch import Tensor

from attrobust.benchmark.audit.case import Trial, count, enough, relative
from attrobust.types import Flag

ALONE = 4
"""Images that are explained alone as well as among the others."""
FLAT = 0.01
"""Range of a map's values as a share of the largest, below which it marks nothing."""


def stochastic_forward(trial: Trial) -> list[Flag]:
    """Raised where two passes of the same images give different logits."""
    with torch.no_grad():
        one, other = trial.scored.model(trial.x), trial.scored.model(trial.x)
    worst = relative(one - other, one).max()
    if not worst > _rounding(one):
        return []
    reason = f"two passes of the same images give logits that differ by up to {_percent(worst)} of the largest"
    return [Flag(name="stochastic-forward", reason=reason)]


def depends_on_batch(trial: Trial) -> list[Flag]:
    """Raised where an image is classified or explained otherwise alone than among others."""
    context, rows = trial.scored, range(min(ALONE, len(trial.y)))
    single = [(trial.x[i : i + 1], trial.y[i : i + 1]) for i in rows]
    with torch.no_grad():
        logits = context.model(trial.x)[: len(rows)]
        logits_alone = torch.cat([context.model(x) for x, _ in single])
    maps_alone = torch.cat([context.maps(x, y) for x, y in single])
    maps = trial.maps[: len(rows)]
    differences = {
        "logits": relative(logits - logits_alone, logits).max(),
        "maps": relative(maps - maps_alone, maps).max(),
    }
    told = [f"{name} by up to {_percent(worst)}" for name, worst in differences.items() if worst > _rounding(maps)]
    if not told:
        return []
    reason = f"alone and among {len(trial.y)}, images differ in their {' and their '.join(told)} of the largest value"
    return [Flag(name="depends-on-batch", reason=reason)]


def constant_map(trial: Trial) -> list[Flag]:
    """Raised where maps mark no pixel above another."""
    maps = trial.maps.flatten(1)
    flat = relative((maps.amax(dim=1) - maps.amin(dim=1))[:, None], maps) < FLAT
    if not enough(flat):
        return []
    reason = f"the values of the map of {count(flat)} differ by less than {_percent(FLAT)} of the largest"
    return [Flag(name="constant-map", reason=reason)]


def _rounding(values: Tensor) -> float:
    """Differences as shares of the largest value up to which they are rounding: 1.5e-8 in float64."""
    return float(torch.finfo(values.dtype).eps ** 0.5)


def _percent(share: Tensor | float) -> str:
    return f"{100 * float(share):.2g} %"
