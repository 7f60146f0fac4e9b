"""What commands print beside tables, line by line: names in it cannot break a line or reach the terminal."""

from __future__ import annotations

import sys

from attrobust.naming.safe import line

LONGEST = 4000
"""Letters of a line on stderr; of a longer one, which quotes something from outside, the middle is left out."""


def say(text: str) -> None:
    """Print a line on stdout."""
    sys.stdout.write(f"{line(text)}\n")


def tell(text: str) -> None:
    """Print a line on stderr."""
    shown = line(text)
    if len(shown) > LONGEST:
        shown = f"{shown[: LONGEST // 2]} … {shown[-LONGEST // 2 :]}"
    sys.stderr.write(f"{shown}\n")
