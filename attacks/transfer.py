"""Attacking one network by the maps of another."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct


@register("transfer")
@dataclass(frozen=True, kw_only=True)
class Transfer(Direct):
    """The score is lowered on the maps of the ``natural`` network; every iterate is tried on the scored one.

    The gradients are those of the other network. What is kept, which steps pay, and whether the prediction holds, is
    decided by the scored network: one that only hides its gradients is no safer for it.
    """

    @property
    def donor(self) -> str:
        """The network trained without a defence."""
        return "natural"

    def source(self, context: Context) -> Context:
        """The same situation with the other network; raises ValueError where there is none."""
        if context.donor is None:
            raise ValueError("transfer needs another network to follow, and the context has no donor")
        return replace(context.followed, model=context.donor)
