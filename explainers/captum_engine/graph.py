"""A torch function mode under which unmodified Captum code keeps the graph from its result back to its inputs.

Captum computes gradients without ``create_graph``, wraps parts of its explainers in ``no_grad``, detaches intermediate
results, and sets hooks on tensors that would run a second time in the outer backward pass. The derivative of a map is
then missing in whole or in part. Within ``GraphMode`` the same operations keep their graph: values are identical and
the derivative is exact. The network's own forward pass is not affected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from attrobust.networks.function_mode import FunctionMode


class GraphMode(FunctionMode):
    """While active on this thread, ``autograd.grad`` creates graphs, and nothing detaches or switches gradients off.

    Hooks that are set on tensors meanwhile fire until ``close`` is called.
    """

    def __init__(self) -> None:
        super().__init__()
        self._open = True
        self._depth = 0

    def close(self) -> None:
        """Disable the hooks set under this mode, which are for the first backward pass and not for later ones."""
        self._open = False

    @contextmanager
    def network(self) -> Iterator[None]:
        """Suspend the mode, for the network's own forward pass, whose ``detach`` and ``no_grad`` must have effect."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run every call, with the changes above."""
        if func is Tensor.register_hook:
            tensor, hook = args
            return func(tensor, lambda gradient: hook(gradient) if self._open else None)
        if self._depth:
            return func(*args, **settings)
        if func is torch._C._set_grad_enabled:
            return func(True)
        if func is Tensor.detach:
            return args[0].view_as(args[0])
        if func is torch.autograd.grad:
            settings["create_graph"] = True
        return func(*args, **settings)
