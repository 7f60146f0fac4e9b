"""Numbers as people type them: decimals, fractions, whole numbers. Imports no torch."""

from __future__ import annotations

import math
import re

LARGEST = 2**63 - 1
"""Of whole numbers that are typed."""
LONGEST = 40
"""Characters of a number that errors quote."""
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


def parse_number(text: str) -> float:
    """Read a finite number, written as a decimal (``0.03``), in scientific notation or as a fraction (``8/255``).

    Raises:
        ValueError: the text is neither, has digits that are not ASCII or ``_`` between them, divides by zero, is not
            finite, or is so close to zero that it would be read as zero.
    """
    numerator, slash, denominator = text.strip().partition("/")
    try:
        if "_" in text or not text.isascii():
            raise ValueError
        above, below = float(numerator), float(denominator) if slash else 1.0
        value = above / below
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{quoted(text)} is not a number (write 0.03 or 8/255)") from None
    if not (math.isfinite(value) and math.isfinite(below)):
        raise ValueError(f"{quoted(text)} is not a finite number")
    if value == 0 and re.search("[1-9]", numerator.lower().partition("e")[0]):
        raise ValueError(f"{quoted(text)} is too close to zero to be told from it")
    return value + 0.0  # Of -0 this is 0.


def parse_whole(text: str) -> int:
    """Read a whole number in ASCII digits; raises ValueError for another text, and where it is above ``LARGEST``."""
    stripped = text.strip()
    if WHOLE.fullmatch(stripped) is None:
        raise ValueError(f"{quoted(text)} is not a whole number")
    # Python refuses to read thousands of digits, and leading zeros change nothing.
    digits = stripped.lstrip("+-").lstrip("0")
    if len(digits) > len(str(LARGEST)) or int(digits or "0") > LARGEST:
        raise ValueError(f"{quoted(text)} is too large a number; the largest is {LARGEST}")
    return int(digits or "0") * (-1 if stripped.startswith("-") else 1)


def quoted(text: str) -> str:
    """A number as typed, in quotation marks, and no more of it than a line has room for."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
