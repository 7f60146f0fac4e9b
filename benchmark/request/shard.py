"""``--shard 2/3``: which share of a run a command computes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from attrobust.numbers import parse_whole, quoted
from attrobust.types import UsageError

MOST = 100_000
"""Shares of a run."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of the shares that a run is divided into.

    Attributes:
        number: which, from 1.
        count: of all shares.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/3``; raises UsageError on anything else."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip(), re.ASCII)
        if match is None:
            raise UsageError(f"--shard {quoted(text)} must be a share and how many there are, e.g. 2/3")
        try:
            shard = cls(number=parse_whole(match[1]), count=parse_whole(match[2]))
        except ValueError:
            shard = cls(number=1, count=MOST + 1)  # Of digits alone, only numbers that are too large cannot be read.
        if shard.count > MOST:
            raise UsageError(f"--shard {quoted(text)}: a run has at most {MOST:,} shares")
        if not 1 <= shard.number <= shard.count:
            raise UsageError(f"--shard {text}: shares are counted from 1/N to N/N")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def suffix(self) -> str:
        """Of the name of its folder."""
        return f"-{self.number}-of-{self.count}"
