"""Flags about logits and maps of clean images: not deterministic, dependent on the batch, or constant."""

from __future__ import annotations

import torch
from torch import Tensor

from attrobust.benchmark.audit.case import AuditCase, count, enough, relative
from attrobust.types import Flag, percent

ALONE = 4
"""Number of images that are explained both alone and in the batch."""
FLAT = 0.01
"""Range of a map's values, as a share of the largest, below which the map counts as constant."""


def stochastic_forward(case: AuditCase) -> list[Flag]:
    """Raised where two passes of the same images give different logits."""
    with torch.no_grad():
        first, second = case.scored.model(case.x), case.scored.model(case.x)
    worst = relative(first - second, first).max()
    if not worst > _rounding(first):
        return []
    reason = (
        f"two passes of the same images give logits that differ by up to {percent(float(worst), '.2g')} of the largest"
    )
    return [Flag(name="stochastic-forward", reason=reason)]


def depends_on_batch(case: AuditCase) -> list[Flag]:
    """Raised where an image's logits or map differ between alone and in a batch."""
    context, rows = case.scored, range(min(ALONE, len(case.y)))
    single = [(case.x[i : i + 1], case.y[i : i + 1]) for i in rows]
    with torch.no_grad():
        logits = context.model(case.x)[: len(rows)]
        logits_alone = torch.cat([context.model(x) for x, _ in single])
    maps_alone = torch.cat([context.maps(x, y) for x, y in single])
    maps = case.maps[: len(rows)]
    differences = {
        "logits": relative(logits - logits_alone, logits).max(),
        "maps": relative(maps - maps_alone, maps).max(),
    }
    largest = {name: float(worst) for name, worst in differences.items() if worst > _rounding(maps)}
    parts = [f"{name} by up to {percent(worst, '.2g')}" for name, worst in largest.items()]
    if not parts:
        return []
    reason = f"alone and among {len(case.y)}, images differ in their {' and their '.join(parts)} of the largest value"
    return [Flag(name="depends-on-batch", reason=reason)]


def constant_map(case: AuditCase) -> list[Flag]:
    """Raised where all values of a map are nearly equal."""
    maps = case.maps.flatten(1)
    flat = relative((maps.amax(dim=1) - maps.amin(dim=1))[:, None], maps) < FLAT
    if not enough(flat):
        return []
    reason = f"the values of the map of {count(flat)} differ by less than {percent(FLAT, '.2g')} of the largest"
    return [Flag(name="constant-map", reason=reason)]


def _rounding(values: Tensor) -> float:
    """Relative difference that is attributed to rounding: 1.5e-8 in float64."""
    return float(torch.finfo(values.dtype).eps ** 0.5)
