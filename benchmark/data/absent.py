"""Stands for a split that a folder does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from attrobust.benchmark.data.base import Split
from attrobust.types import UsageError


class Absent(Split):
    """A split without images; whatever needs one of them, or their hash, is refused.

    Args:
        why: it is absent, and what to do, in one line.
    """

    def __init__(self, why: str) -> None:
        self.labels = torch.empty(0, dtype=torch.int64)
        self._why = why

    def _refuse(self) -> NoReturn:
        raise UsageError(self._why)

    def pixels(self, indices: Sequence[int]) -> Tensor:  # noqa: ARG002
        """Raises UsageError."""
        self._refuse()

    @property
    def sha256(self) -> str:
        """Raises UsageError."""
        self._refuse()
