"""Reasons not to trust a number, found in the scores themselves."""

from __future__ import annotations

import numpy as np

from attrobust.types import Flag
from benchmark.store import Floats


def noise_beats_attack(attack: Floats, noise: Floats, *, higher_is_better: bool) -> Flag | None:
    """Raised where random noise changes the maps at least as much as an attack that follows gradients.

    The attack then says nothing about the model: its gradient is masked, its surrogate far off, or its objective
        another.

    Args:
        attack, noise: scores of the same images; those undefined in either are left out.
        higher_is_better: of the metric.
    """
    both = ~np.isnan(attack) & ~np.isnan(noise)
    if not both.any():
        return None
    attacked, noisy = float(attack[both].mean()), float(noise[both].mean())
    if (attacked < noisy) if higher_is_better else (attacked > noisy):
        return None
    return Flag(
        name="noise-beats-attack",
        reason=f"noise does as much to this score as the attack does (mean {noisy:.4f} against {attacked:.4f})",
    )
