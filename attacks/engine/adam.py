"""Adam on pixels, for attacks that steer a map towards a target."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrobust.attacks.engine.descent import Update


def adam(x: Tensor, lr: float, project: Callable[[Tensor], Tensor], unit: Tensor | float = 1.0) -> Update:
    """Steps of Adam with torch's defaults, each followed by a projection.

    Args:
        x: images, B×C×H×W; only their shape matters.
        lr: learning rate, about the size of the first step, in ``unit``.
        project: maps a point to a feasible one.
        unit: one unit of the optimised space, in pixels; 1×C×1×1 or one for all channels.
    """
    moving = x / unit
    optimizer = torch.optim.Adam([moving], lr=lr)

    def update(current: Tensor, gradient: Tensor, _iteration: int) -> Tensor:
        moving.copy_(current / unit)
        moving.grad = gradient * unit
        optimizer.step()
        return project(moving * unit)

    return update
