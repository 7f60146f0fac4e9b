"""A transfer attack: gradients are those of a source model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct


@register("transfer")
@dataclass(frozen=True, kw_only=True)
class Transfer(Direct):
    """Lowest score by descent on the maps of the ``natural`` network; every iterate is scored on the attacked network.

    The source model only gives the gradients. The best iterate, the step sizes and whether the prediction is kept are
    decided by the scored network, so that a network which merely masks its gradients is not protected by that.
    """

    @property
    def source_model(self) -> str:
        """``natural``: the source model is trained without a defence."""
        return "natural"

    def source(self, context: Context) -> Context:
        """The context with the source model as network; raises ValueError where it has none."""
        if context.source_model is None:
            raise ValueError("transfer needs another network to follow, and the context has no source model")
        return replace(context.followed, model=context.source_model)
