"""Files of a run that somebody edited or damaged are named in one line; nothing else ever comes of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from attrobust.benchmark.store.lines import document_of, line_of

from helpers.edits import EDITS, edited, places
from helpers.runs import SMALL, WHOLE, run

Capture = pytest.CaptureFixture[str]
TRIED = 120


def test_whatever_is_edited_report_and_verify_end_in_words(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural,aga:cosd={0.1,1}", "--choose", "topk", "--epochs", "1", *WHOLE]
    words += [*SMALL, "--accuracy-attack", "apgd:steps=2", "--metrics"]
    assert run([*words, "topk,gini", "--baselines", "constant-map", "--out", tmp_path], capsys)[0] == 0
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
        (tmp_path / "run.json").write_bytes(document_of(shown))
        (tmp_path / "rows.jsonl").write_bytes(b"".join(map(line_of, kept)))
        for command in ("verify", "report"):
            code, _, err = run([command, tmp_path], capsys)
            assert code in (0, 1, 2)
            assert code != 2 or (err.startswith("error: ") and err.count("\n") == 1), err
            codes.add((command, code))
    # Only another version is exit code 2 of verify.
    assert codes - {("verify", 2)} == {("verify", 0), ("verify", 1), ("report", 0), ("report", 2)}
