"""Whatever the author of an exception wrote into it, a row can hold what went wrong."""

from __future__ import annotations

import json
import os

import pytest

from attrobust.naming.safe import LETTERS, described, first_line, message_of, reason


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


@pytest.mark.parametrize("error", [MuteError(), ValueError(MuteError()), ExceptionGroup("", [MuteError()])])
def test_an_exception_without_words_has_those_of_its_class(error: Exception) -> None:
    kind = type(error).__name__
    assert message_of(error) in (kind, " (1 sub-exception)")
    assert first_line(error) in (kind, " (1 sub-exception)")


def test_the_first_line_is_one_with_words() -> None:
    assert first_line(ValueError("\n \nsecond")) == "second"
    assert first_line(ValueError("\n")) == "ValueError"


def test_long_messages_are_cut() -> None:
    assert len(reason(ValueError("x" * 1000))) == LETTERS


def test_an_error_of_memory_that_says_nothing_is_put_into_words() -> None:
    assert described(MemoryError()) == "MemoryError: there is not enough memory"
    assert described(MemoryError("of the GPU")) == "MemoryError: of the GPU"
