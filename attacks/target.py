"""Drawing another image's map: Dombrowski et al., NeurIPS 2019."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks import register
from attacks.base import Context
from attacks.descent import sum_normalized
from attacks.feasible import Objective
from attacks.signed import SignedDescent


@register("target")
@dataclass(frozen=True, kw_only=True)
class Target(SignedDescent):
    """Nearest map to that of another image: ``min ||S(x') - S(x_T)||²``, maps normalised to sum 1 (arXiv 1906.07983).

    The paper bounds only the pixel box and keeps the prediction by a soft penalty; here the ball is the threat model's
    and the prediction is a hard constraint. The other image is the next one of the fixed list with another class,
    explained for the class the network predicts for it.
    """

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:  # noqa: ARG002
        """Squared distance to the other image's map."""
        goal = sum_normalized(context.maps(context.partners, context.predict(context.partners)))
        return lambda maps: (sum_normalized(maps) - goal).square().sum(dim=(1, 2))
