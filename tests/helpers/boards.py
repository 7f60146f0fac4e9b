"""Small boards, and forgeries of them that are as consistent as a forger can make them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attrobust.benchmark.boards.board import LICENCE, BoardFacts
from attrobust.benchmark.boards.rules import complaints
from attrobust.benchmark.command.main import main
from attrobust.benchmark.statistics import estimates
from attrobust.benchmark.store.rows import Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.upgrade import read_plan, read_row
from attrobust.naming.validate import as_json

from helpers.runs import COARSE

NAME = "digits-v1"
ATTACK = "topk:steps=4"
COMMAND = [
    *(*COARSE, "--images", "6", "--explainers", "saliency", "--metrics", "topk:k=10%,spearman,normalized-l2,deletion"),
    *("--attacks", f"noise:draws=2,{ATTACK}", "--accuracy-attack", "apgd:steps=2", "--baselines", "constant-map"),
    *("--methods", "natural,aga", "--epochs", "15", "--keep-images", "none", "--workers", "1"),
]
"""A board that takes seconds, with weights of its own."""


def made(results: Path, *words: str, name: str = NAME, version: int = 1) -> Path:
    """A board with everything that the rules ask for; returns the folder of results that it lies in."""
    assert main([*COMMAND, *words, "--out", str(results / name)]) == 0
    BoardFacts(version=version, licence=LICENCE).write(results / name)
    return results


def copied(results: Path, to: Path) -> Path:
    """Another copy of a folder of results."""
    shutil.copytree(results, to)
    return to


def broken(new: Path, old: Path | None = None, changelog: str = "") -> set[str]:
    """Names of the rules that are broken."""
    return {complaint.rule for complaint in complaints(new, old, changelog)}


def rewritten(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None], *, signed: bool = True) -> None:
    """Change, or leave out, lines of ``rows.jsonl``, with digests that fit, and write the tables again.

    Args:
        folder: of the run.
        change: what becomes of a line; None to leave it out.
        signed: whether digests and tables follow; a clumsy forger forgets them.
    """
    path = folder / "rows.jsonl"
    lines = [change(json.loads(line)) for line in path.read_text().splitlines()]
    kept = [line for line in lines if line is not None]
    if signed:
        kept = [as_json(read_row({**line, "digest": ""}).signed()) for line in kept]
    path.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in kept))
    if signed:
        report(folder)


def replanned(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change ``run.json``, with a digest that fits."""
    plan = json.loads((folder / "run.json").read_text())
    change(plan)
    Store(folder).write_plan(read_plan({**plan, "digest": ""}).signed())


def report(folder: Path) -> None:
    """Write the tables again."""
    assert main(["report", str(folder)]) == 0


def row_of(folder: Path, *, method: str = "aga", attack: str = ATTACK, metric: str = "spearman") -> ScoredRow:
    """A row of a board as the table shows it."""
    store = Store(folder)
    plan, rows = store.plan(), store.rows()
    (key,) = [
        entry.row
        for entry in plan.entries
        if (plan.subjects[entry.subject].label, entry.attack, entry.metric) == (method, attack, metric)
    ]
    row: Row = rows[key]
    assert isinstance(row, ScoredRow)
    return row


def with_scores(folder: Path, row: ScoredRow, scores: Sequence[float]) -> None:
    """Put other per-image scores in the place of a row's, and everything that follows from them."""
    store, loaded = Store(folder), Store(folder).load(row)
    values = np.array(scores, dtype=np.float64)
    sha256 = store.save_scores(row.fingerprint, values, loaded.feasible, loaded.worst, loaded.members)
    (new,) = estimates([values], [row.metric.unit])

    def change(line: dict[str, Any]) -> dict[str, Any]:
        if line["fingerprint"] != row.fingerprint:
            return line
        return {**line, "mean": new.mean, "ci": [new.low, new.high], "scores_sha256": sha256}

    rewritten(folder, change)
