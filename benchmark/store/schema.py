"""The words that files of a run are written in, and the version of their form."""

from __future__ import annotations

from typing import Literal, get_args

from attrobust.types import Scope

SCHEMA: Literal[4] = 4
"""Raised with every change of what is stored or of what it means; ``upgrade`` reads what older versions wrote."""
How = Literal["percentile", "bca"]
"""How intervals over images are computed."""
INTERVALS: tuple[How, ...] = get_args(How)
"""The first unless asked otherwise."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What metrics belong to, in the order of the tables."""
