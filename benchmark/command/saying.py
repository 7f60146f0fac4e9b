"""What commands print beside tables, line by line: names in it cannot break a line or reach the terminal."""

from __future__ import annotations

import sys

from attrobust.naming.safe import line


def say(text: str) -> None:
    """Print a line on stdout."""
    sys.stdout.write(f"{line(text)}\n")


def tell(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(f"{line(text)}\n")
