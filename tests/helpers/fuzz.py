"""Inputs that nobody would type, tried by the dozen in CI and by the thousand with ``--long``."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from attrobust.types import UsageError

from helpers.runs import run

FEW, MANY = 25, 200
"""How many inputs a test tries in CI, and with ``--long``."""
ODD = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " ", "-", "--", "~", "~/x", "..", ".", "/", "\x00", "\n", "é" * 300, "x" * 5000, "9" * 5000]),
    st.sampled_from(
        ["nan", "inf", "-inf", "1e999", "1/0", "0/0", "-1", "0", "1e-400", "1_0", "٣", "½", "%", "10%", "1e9"]
    ),
    st.sampled_from(
        ["C:\\x", "http://x/y.pt", "CON", "nul.toml", "a:b=c", "a:b={1,2}", "{", "}", "{{}}", "a:b={}", "=", ","]
    ),
)
"""Texts that stand where something else is meant."""


def tried(
    request: pytest.FixtureRequest, strategy: st.SearchStrategy[object], attempt: Callable[..., object], few: int = FEW
) -> None:
    """Hand inputs to an attempt: the same ones every time in CI, others at every call with ``--long``.

    Args:
        request: of the test.
        strategy: draws an input.
        attempt: takes one, and raises where something is wrong.
        few: how many inputs there are in CI.
    """
    is_long = request.config.getoption("--long")
    many = settings(
        max_examples=MANY if is_long else few,
        derandomize=not is_long,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    many(given(strategy)(attempt))()


def refused_or_taken(function: Callable[[], object]) -> None:
    """Call a function, which may refuse what it is given, in words."""
    try:
        function()
    except UsageError as error:
        assert str(error).strip(), "a refusal says why"


def answered(words: Sequence[str | Path], capsys: pytest.CaptureFixture[str], stopped: str = "") -> None:
    """Run a command, which ends well, or in one line and exit code 2.

    Args:
        words: as typed.
        capsys: of the test.
        stopped: the last line of a command that would have gone on.
    """
    try:
        code, _, err = run(words, capsys)
    except SystemExit as end:  # of --help and --version
        assert end.code == 0
        return
    lines = err.strip().splitlines()
    assert "Traceback" not in err
    if code == 2:
        errors = [line for line in lines if not line.startswith(("note: ", "warning: "))]
        assert len(errors) == 1, err
        assert errors[0].startswith("error: ")
        assert errors[0] == f"error: {stopped}" or len(errors[0]) > len("error: ")
    else:
        assert code in (0, 1), err


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file with some of its bytes changed, cut off, doubled or put elsewhere."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        kind, at = rng.randrange(5), rng.randrange(max(1, len(data)))
        if kind == 0 and data:
            data[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        elif kind == 1 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at : at + rng.choice([1, 2, 4, 16, len(data)])]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice([1, 2, 4, 16]))
        else:
            data[at:at] = data[rng.randrange(max(1, len(data))) :][: rng.choice([1, 4, 64])]
    return bytes(data)


BYTES = st.integers(0, 2**32 - 1)
"""Seeds of ``mutated``."""
