"""Flags found in the scores themselves, when tables are made: an attack that another should be no match for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attrobust.arrays import Floats
from attrobust.benchmark.store.plan import AttackFacts
from attrobust.types import Flag


def yardsticks(attack: AttackFacts, attacks: Sequence[AttackFacts]) -> list[tuple[str, str]]:
    """Name and label of every attack of a run that one of them must beat.

    Noise must be beaten by all, transfer by what follows the gradients of the network itself.
    """
    names = {"noise", "transfer"} if attack.follows_gradient else {"noise"}
    if attack.name == "noise":
        return []
    return [(other.name, other.label) for other in attacks if other.name in names - {attack.name}]


def beaten(attack: Floats, other: Floats, name: str, *, higher_is_better: bool) -> Flag | None:
    """``NAME-beats-attack``, raised where an attack that sees no gradient does at least as much as one that does.

    The attack then says nothing about the model: its gradient is masked, its surrogate far off, or its objective
    another.

    Args:
        attack, other: scores of the same images; those undefined in either are left out.
        name: of the other attack.
        higher_is_better: of the metric.
    """
    both = ~np.isnan(attack) & ~np.isnan(other)
    # Where nothing could move, neither did more than the other.
    if not both.any() or np.array_equal(attack[both], other[both]):
        return None
    attacked, compared = float(attack[both].mean()), float(other[both].mean())
    if (attacked < compared) if higher_is_better else (attacked > compared):
        return None
    return Flag(
        name=f"{name}-beats-attack",
        reason=f"{name} does as much to this score as the attack does (mean {compared:.4f} against {attacked:.4f})",
    )
