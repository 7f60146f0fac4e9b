"""The one method that every mode over torch's functions has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import fx
from torch.overrides import TorchFunctionMode


class FunctionMode(TorchFunctionMode, ABC):
    """While active on this thread, every call of a torch function goes through ``call``.

    Calls that torch.fx traces do not: its variables have no values to compute with, and a graph holds what its network
    calls.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See ``call``."""
        if any(issubclass(kind, fx.Proxy) for kind in types):
            return func(*args, **(kwargs or {}))
        return self.call(func, args, dict(kwargs or {}))

    @abstractmethod
    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """What the function returns; the author's to decide.

        Args:
            func: the function or method of torch.
            args, settings: its positional and keyword arguments.
        """
