"""Adam on pixels, as the attacks that draw a map take it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrobust.attacks.engine.descent import Update


def adam(x: Tensor, lr: float, project: Callable[[Tensor], Tensor], unit: Tensor | float = 1.0) -> Update:
    """Steps of Adam with torch's defaults, each followed by a projection.

    Args:
        x: images, B×C×H×W; only their shape matters.
        lr: about the size of a first step, in ``unit``.
        project: back to where points may be.
        unit: of the space that is optimised, in pixels; 1×C×1×1 or one for all.
    """
    moving = x / unit
    optimizer = torch.optim.Adam([moving], lr=lr)

    def update(current: Tensor, gradient: Tensor, _iteration: int) -> Tensor:
        moving.copy_(current / unit)
        moving.grad = gradient * unit
        optimizer.step()
        return project(moving * unit)

    return update
