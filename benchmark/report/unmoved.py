"""The flag of an attack that left every map where it was, found in the scores when tables are made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attrobust import metrics as axis
from attrobust.arrays import Floats
from attrobust.benchmark.report.table import Metric
from attrobust.types import Flag

STILL = 1e-9
"""How far from that of two equal maps a score may be by rounding."""


def unmoved(scores: Sequence[Floats], metrics: Sequence[Metric]) -> Flag | None:
    """``attack-moved-nothing``, raised where every similarity of every image is that of two equal maps.

    The bound is then the one that holds without any attack. Other metrics decide nothing, since their best value is not
    that of equal maps; nor do undefined scores.

    Args:
        scores: of a network under an attack with an eps above 0, for each metric.
        metrics: what these are scores of.
    """
    found = [
        values[~np.isnan(values)] - _equal(metric)
        for values, metric in zip(scores, metrics, strict=True)
        if _is_similarity(metric)
    ]
    counts = [len(values) for values in found]
    if not any(counts) or any(bool((np.abs(values) > STILL).any()) for values in found):
        return None
    reason = (
        f"the attack left the maps of all {max(counts)} images where they were: no score differs from the clean map's"
    )
    return Flag(name="attack-moved-nothing", reason=reason)


def _equal(metric: Metric) -> float:
    """The score of two equal maps: a similarity of 1, or a distance of 0."""
    return 1.0 if metric.higher_is_better else 0.0


def _is_similarity(metric: Metric) -> bool:
    """Whether it compares the two maps of an image; told from its folder, since tables import no torch."""
    name = metric.label.partition(":")[0]
    if name == "target-similarity":
        return False
    return any(entry.name == name and ".similarity." in entry.target for entry in axis.registry.entries())
