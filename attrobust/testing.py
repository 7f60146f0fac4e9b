"""Tests for what people bring: ``check`` tries the contract of its axis on a class, on real digits, in seconds.

from attrobust.testing import check
def test_mine() -> None: check(MyMethod)
"""

from attrobust.benchmark.contract.check import Report, check

__all__ = ["Report", "check"]
