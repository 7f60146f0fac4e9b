"""Base class of attacks on the prediction, and the iterate of lowest margin that they keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.attacks.base import Attack
from attrobust.attacks.engine.feasible import margins
from attrobust.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class PredictionAttack(Attack):
    """An attack on the network's prediction and not on its explanation."""

    on_prediction: ClassVar[bool] = True

    def check_threat(self, threat: ThreatModel) -> None:
        """Raise ValueError where the threat model keeps predictions."""
        if threat.keep_prediction:
            name = type(self).__name__.lower()
            raise ValueError(f"{name} changes predictions; allow it with --allow-flips or keep_prediction=False")


class LowestMargin:
    """The iterate of lowest margin of the clean prediction, image by image, the clean image included.

    Args:
        x: clean images, B×C×H×W.
        logits: of the clean images, B×K.

    Attributes:
        x: the best so far.
        predicted: clean predictions, int64[B].
        margin: of these on the best so far, float[B]; below 0 where another class is predicted.
    """

    def __init__(self, x: Tensor, logits: Tensor) -> None:
        self.predicted = logits.argmax(dim=1)
        self.x, self.margin = x.clone(), margins(logits, self.predicted)

    def offer(self, x: Tensor, logits: Tensor, rows: Tensor | slice = slice(None)) -> None:
        """Keep ``x`` where its margin is lower.

        Args:
            x: points of the ball and the box.
            logits: of ``x``.
            rows: the images they belong to, int64.
        """
        margin = margins(logits.detach(), self.predicted[rows])
        lower = margin < self.margin[rows]
        self.x[rows] = torch.where(lower.view(-1, 1, 1, 1), x.detach(), self.x[rows])
        self.margin[rows] = torch.where(lower, margin, self.margin[rows])
