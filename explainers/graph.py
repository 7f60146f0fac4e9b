"""Unmodified Captum, differentiable: a mode under which its explainers keep the graph from map to input.

Captum computes gradients without ``create_graph`` and wraps parts of its explainers in ``no_grad``, so the derivative
of a map is missing or, worse, partly missing. Within ``GraphMode`` the same operations run with the graph kept: the
values are identical and the derivative is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class GraphMode(TorchFunctionMode):
    """While active on this thread, ``autograd.grad`` creates graphs and nothing switches gradients off."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Pass every call on, with the two changes above."""
        settings = dict(kwargs or {})
        if func is torch._C._set_grad_enabled:
            return func(True)
        if func is torch.autograd.grad:
            settings["create_graph"] = True
        return func(*args, **settings)
