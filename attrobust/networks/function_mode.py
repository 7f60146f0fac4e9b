"""The one method that every mode over torch's functions has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode


class FunctionMode(TorchFunctionMode, ABC):
    """While active on this thread, every call of a torch function goes through ``call``."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See ``call``."""
        return self.call(func, args, dict(kwargs or {}))

    @abstractmethod
    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """What the function returns; the author's to decide.

        Args:
            func: the function or method of torch.
            args, settings: its positional and keyword arguments.
        """
