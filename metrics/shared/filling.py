"""What takes the place of removed pixels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from attrobust.metrics.shared.case import Case
from attrobust.networks.smoothed import input_mean

Fill = Literal["mean", "black"]
"""``mean`` is the colour that is zero in normalised units, see ``attrobust.networks.smoothed.input_mean``."""


def filled(case: Case, fill: Fill) -> Tensor:
    """Images of that colour alone, shaped like the clean ones, B×C×H×W."""
    return torch.zeros_like(case.clean) + (input_mean(case.model) if fill == "mean" else 0.0)
