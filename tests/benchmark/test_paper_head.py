"""The LaTeX of a run is what an article shows; all blocks are in a second file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attrobust.benchmark.report import latex, text
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.view.style import DEFAULT

from helpers.latex import compiled, labels, needs_latex
from helpers.runs import run
from helpers.tables import write_table

BLOCKS = [f"\\emph{{{explainer}, {attack}}}" for explainer in ("saliency", "ig") for attack in ("noise", "topk")]
LONG = "noise does more to the score than the attack does, whatever it is started from, on each of the images"


@pytest.fixture
def board(tmp_path: Path) -> Leaderboard:
    return build([write_table(tmp_path / "run", ["good", "middling", "bad"], accuracy_attack="apgd", reason=LONG)])


def test_it_has_the_verdict_accuracies_and_worst_cases_and_names_flags(board: Leaderboard) -> None:
    head, whole = latex.head(board), latex.render(board)
    for source in (head, whole):
        assert "good comes first" in source
        assert "\\emph{saliency, worst of 2 attacks}" in source
        assert "\\emph{ig, worst of 2 attacks}" in source
        assert "under apgd" in source
    assert [block for block in BLOCKS if block in head] == []
    assert [block for block in BLOCKS if block not in whole] == []
    assert "that every evaluated network classifies correctly" not in head
    assert "Flags (!). bad: masked. leaderboard.md has their reasons." in head
    assert LONG not in head
    assert LONG in whole
    assert set(labels(head)).isdisjoint(labels(whole)), "an article may have both"


def test_numbers_are_those_of_the_whole(board: Leaderboard) -> None:
    whole = latex.render(board)
    rows = [row for row in latex.head(board).splitlines() if row.endswith("\\\\") and row.startswith(("good", "bad"))]
    assert len(rows) >= 4
    whole_rows = set(whole.splitlines())
    assert all(row in whole_rows or any(part in whole for part in row.split(" & ")[1:]) for row in rows)


def test_of_a_run_with_one_attack_it_has_the_blocks_over_all_images(tmp_path: Path) -> None:
    one = build([write_table(tmp_path / "run", ["good", "bad"], attacks=("topk",))])
    assert [attack for attack in ("saliency, topk", "ig, topk") if f"\\emph{{{attack}}}" not in latex.head(one)] == []
    assert "classifies correctly" not in latex.head(one)


def test_a_view_is_whole(board: Leaderboard) -> None:
    view = replace(board, style=replace(DEFAULT, is_view=True))
    assert latex.head(view) == latex.render(view)


def test_both_files_are_written_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_table(tmp_path / "run", ["good", "bad"]).folder
    assert run(["report", folder, "--export", "latex,latex-full"], capsys)[0] == 0
    assert {path.name for path in folder.glob("leaderboard.*")} == {
        *("leaderboard.tex", "leaderboard.full.tex", "leaderboard.bib")
    }
    head, whole = ((folder / f"leaderboard.{suffix}").read_text() for suffix in ("tex", "full.tex"))
    assert (head, whole) == (latex.head(build([write_table(tmp_path / "b", ["good", "bad"])])), whole)
    assert len(head) < len(whole)


@needs_latex
def test_it_compiles_beside_the_whole(board: Leaderboard, tmp_path: Path) -> None:
    assert compiled(tmp_path, {"head": latex.head(board), "whole": latex.render(board)}) == []


@pytest.mark.parametrize("columns", [60, 100])
def test_sentences_of_the_whole_are_wrapped_in_the_terminal(board: Leaderboard, columns: int) -> None:
    shown = text.terminal(board, full=True, columns=columns)
    assert " ".join(f"! bad, ig: masked: {LONG}".split()) in " ".join(shown.split())
    sentences = [row for row in shown.splitlines() if "  " not in row and not row.startswith("--")]
    assert max(map(len, sentences)) <= columns
