"""Whatever the author of an exception wrote into it, a row can hold what went wrong."""

from __future__ import annotations

import json
import os

import pytest

from attrobust.naming.safe import LETTERS, reason


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("plain"), "ValueError: plain"),
        (ValueError(""), "ValueError: "),
        (ValueError("first\nsecond"), "ValueError: first"),
        (OSError(os.fsdecode(b"caf\xe9.npy")), "OSError: caf\\udce9.npy"),
        (MuteError(), "MuteError"),
    ],
)
def test_an_exception_is_one_line_that_every_document_can_hold(error: Exception, told: str) -> None:
    assert reason(error) == told
    assert json.loads(json.dumps(reason(error)).encode("utf-8")) == told
    reason(error).encode("utf-8")


def test_long_messages_are_cut() -> None:
    assert len(reason(ValueError("x" * 1000))) == LETTERS
