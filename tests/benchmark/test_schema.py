"""Files of a run that somebody edited or damaged are named in one line; nothing else ever comes of them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attrobust.benchmark.store.schema import misfits

from helpers.runs import FAST, run

Capture = pytest.CaptureFixture[str]
Keys = tuple[str | int, ...]
GONE = object()
EDITS: list[object] = [GONE, None, "x", 12345, [], {}, True]
TRIED = 120


def places(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Of everything in a JSON value; of a list its first two."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*keys, key)
        yield from places(item, (*keys, key))


def edited(value: Any, keys: Keys, new: object) -> Any:
    """A copy with something else at a place, or without it."""
    found = inner = copy.deepcopy(value)
    for key in keys[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = new
    return found


def test_whatever_is_edited_report_and_verify_end_in_words(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural,aga:cosd={0.1,1}", "--choose", "topk", "--epochs", "1", *FAST, "--metrics"]
    assert run([*words, "topk,gini", "--controls", "constant-map", "--out", tmp_path], capsys)[0] == 0
    plan = json.loads((tmp_path / "run.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    rng, codes = random.Random(0), set()
    for _ in range(TRIED):
        shown, kept = plan, rows
        if rng.random() < 0.5:
            shown = edited(plan, rng.choice(list(places(plan))), rng.choice(EDITS))
        else:
            at = rng.randrange(len(rows))
            kept = [
                *rows[:at],
                edited(rows[at], rng.choice(list(places(rows[at]))), rng.choice(EDITS)),
                *rows[at + 1 :],
            ]
        (tmp_path / "run.json").write_text(json.dumps(shown))
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        for command in ("verify", "report"):
            code, _, err = run([command, tmp_path], capsys)
            assert code in (0, 1, 2)
            assert code != 2 or (err.startswith("error: ") and err.count("\n") == 1), err
            codes.add((command, code))
    assert codes == {("verify", 0), ("verify", 1), ("verify", 2), ("report", 0), ("report", 2)}


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"a": [1], "b": "x", "pair": [1, None]}, []),
        ({"a": [], "b": "y", "pair": [1, 2.5], "may": True}, []),
        ({"a": [1, True, "2"], "b": "x", "pair": [1]}, ["a.1", "a.2", "pair"]),
        ({"b": "z", "pair": "no", "may": 1}, ["a", "b", "pair", "may"]),
        ([], ["the whole"]),
    ],
)
def test_every_place_that_does_not_fit_is_named(value: object, wrong: list[str]) -> None:
    number = (int, float, type(None))
    shape = {"a": [(int,)], "b": {"x", "y"}, "pair": [number, number], "may?": (bool, {"inner": (str,)})}
    assert list(misfits(value, shape)) == wrong
