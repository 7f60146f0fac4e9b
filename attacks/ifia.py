"""The iterative feature importance attack (IFIA): Chen et al., NeurIPS 2019."""

from __future__ import annotations

from dataclasses import dataclass

from attrobust.attacks import register
from attrobust.attacks.published.path import OnPath
from attrobust.attacks.published.variants import by_variant


@register("ifia")
@dataclass(frozen=True, kw_only=True)
class Ifia(OnPath):
    """Least mass on the clean map's top k, keeping the point of lowest Kendall's tau (arXiv 1905.09957).

    By default the scored explainer's map is attacked, by adaptive steps from three random starts. ``variant=paper``
    attacks integrated gradients in a smoothed model with a softplus of beta 1, see ``published.path``. The official
    code runs three times, but from the same point and without random numbers, so that all runs are equal; it is run
    once here.

    Attributes:
        k: pixels of the map, a count or a percentage; the paper takes 200 or 100 of 784, 100 of 1024, 1000 of 16384.
        points: of the official integral.
        steps, step: the official code takes 100 steps; eps is 8 to 30 of them.
        restarts: random starts; the one of lowest tau is kept.
        beta, pool, growth: see ``published.ghorbani.Ghorbani``.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    steps: int = by_variant(corrected=50, paper=100)
    restarts: int = 3
