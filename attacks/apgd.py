"""Auto-PGD, an attack on the prediction: Croce and Hein, ICML 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.adaptive import Control, schedule
from attrobust.attacks.engine.feasible import margins
from attrobust.attacks.engine.prediction import LowestMargin, PredictionAttack
from attrobust.attacks.engine.walk import Point
from attrobust.naming.checks import at_least

Loss = Literal["ce", "dlr"]


@register("apgd")
@dataclass(frozen=True, kw_only=True)
class Apgd(PredictionAttack):
    """Largest loss of the clean prediction, by Auto-PGD with its adaptive step (arXiv 2003.01690, algorithm 1).

    The losses are cross-entropy and the difference-of-logits ratio, both of the clean prediction and not of the true
    class. The result is each image's iterate of lowest margin. Images whose prediction has changed leave the batch, and
    so do images without a gradient. ``AdaptiveDescent`` says how its walk differs from the official code's.

    Attributes:
        steps: iterations for each loss and restart.
        loss: ``ce``, ``dlr``, or ``both``: first ``ce``, then ``dlr`` on images whose prediction has not changed.
        restarts: random starts for each loss.
    """

    steps: int = 100
    loss: Literal["ce", "dlr", "both"] = "both"
    restarts: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "steps", "restarts")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        """See ``Attack.run``."""
        with torch.no_grad():
            best = LowestMargin(x, context.model(x))
        losses: tuple[Loss, ...] = ("ce", "dlr") if self.loss == "both" else (self.loss,)
        for restart in range(self.restarts):
            for loss in losses:
                self._walk(context, x, loss, best, f"start {loss} {restart}")
        return best.x

    def _walk(self, context: Context, x: Tensor, loss: Loss, best: LowestMargin, purpose: str) -> None:
        """One descent of the images whose prediction has not changed yet."""
        threat, rows = context.threat, (best.margin >= 0).nonzero().flatten()
        if not len(rows):
            return

        def visit(point: Tensor, *, last: bool = False) -> Point:
            attached = point.detach().requires_grad_(not last)
            logits = context.model(attached)
            best.offer(point, logits, rows)
            score = objective(logits, best.predicted[rows], loss)
            gradient = torch.zeros_like(point) if last else torch.autograd.grad(score.sum(), attached)[0]
            return Point(x=point, gradient=gradient, score=score.detach())

        start = threat.scatter(x[rows], context.take(rows.tolist()).streams(purpose).uniform(x[rows]))
        control, checkpoints = Control.begin(visit(start), 2 * threat.eps), schedule(self.steps)
        for iteration in trange(self.steps, desc=loss, leave=False, disable=None):
            flipped = best.margin[rows] < 0
            if iteration in checkpoints:
                control.check()
                flipped = control.finished(flipped)
            if bool(flipped.all()):
                return
            if bool(flipped.any()):
                rows, control = rows[~flipped], control.take(~flipped)
            control.move(visit(control.propose(threat, x[rows]), last=iteration + 1 == self.steps))


def objective(logits: Tensor, classes: Tensor, loss: Loss) -> Tensor:
    """Minus a loss of the prediction, float[B], which the descent minimises.

    Args:
        logits: B×K.
        classes: the clean predictions, int64[B].
        loss: ``ce`` for ``-CE``; ``dlr`` for ``(z_y - max_{i≠y} z_i) / (z_(1) - z_(3))`` with z sorted downwards
            (arXiv 2003.01690, equation 6), which does not depend on the scale of the logits. With fewer than three
            classes there is no third logit, and it is the margin itself.
    """
    if loss == "ce":
        return -F.cross_entropy(logits, classes, reduction="none")
    margin = margins(logits, classes)
    if logits.shape[1] < 3:
        return margin
    largest = logits.topk(3, dim=1).values
    return margin / (largest[:, 0] - largest[:, 2] + 1e-12)
