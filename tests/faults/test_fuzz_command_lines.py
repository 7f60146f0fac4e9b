"""Command lines: whatever is typed for an option ends in what was asked for, or in one line and exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import strategies as st

from attrobust.benchmark.command import sweep
from attrobust.benchmark.command.main import COMMANDS
from attrobust.benchmark.command.options import benchmark_parser
from attrobust.types import UsageError

from helpers.fuzz import ODD, answered, tried

Capture = pytest.CaptureFixture[str]
GOOD = ["natural", "aga:cosd={0.1,1}", "saliency", "topk:steps=2", "cosine", "digits", "lenet", "quick", "8/255", "0,1"]
GOOD += [
    "0-2",
    "2/3",
    "none",
    "l2",
    "csv",
    "csv,html",
    "cpu",
    "cuda:7",
    "local",
    "ray:x",
    "3",
    "1",
    "topk@noise",
    "90%",
]
STOPPED = "stopped before anything is computed"


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """By option, what a parser does with it."""
    return {name: action for action in parser._actions for name in action.option_strings if name.startswith("--")}


def lines(make: Callable[[], argparse.ArgumentParser], places: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Command lines of a parser: options with values that are good, odd or none, in any number and order."""
    known = options_of(make())
    value = st.sampled_from([*GOOD, *places]) | ODD
    with_value = [name for name, action in known.items() if action.nargs != 0] or ["--out"]
    given = st.tuples(st.sampled_from(with_value), value, st.booleans()).map(
        lambda drawn: [f"{drawn[0]}={drawn[1]}"] if drawn[2] else [drawn[0], drawn[1]]
    )
    alone = st.sampled_from(sorted(known)).map(lambda name: [name])
    words = st.lists(given | given | given | alone | value.map(lambda text: [text]), max_size=5)
    return words.map(lambda groups: [word for group in groups for word in group])


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """Folders and files that are not what they should be."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "mine.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("def\n")
    (tmp_path / "text.toml").write_text("no = toml = at all")
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "images.npz").write_bytes(b"\x93NUMPY")
    (tmp_path / "locked").mkdir(mode=0)
    made = [str(path) for path in tmp_path.iterdir()]
    return [*made, f"a={tmp_path / 'weights.pt'}", f"a={tmp_path / 'empty'}:lenet", f"{tmp_path}/{'n' * 300}"]


def test_options_of_a_run(
    places: list[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, capsys: Capture
) -> None:
    def stop(*_: object) -> None:
        raise UsageError(STOPPED)

    monkeypatch.setattr(sweep, "runners_of", stop)
    tried(request, lines(benchmark_parser, places), lambda words: answered(words, capsys, STOPPED))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_options_of_another_command(
    command: str,
    places: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = st.sampled_from(places) | ODD
    drawn = st.tuples(run, lines(COMMANDS[command][0], places))
    tried(request, drawn, lambda pair: answered([command, pair[0], *pair[1]], capsys), few=15)
