"""A run is packed for a pull request where it fits a board and comes out again, and says what differs where not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from attrobust.benchmark.boards.board import FILE, BoardFacts, boards_in, read_facts
from attrobust.benchmark.boards.rules import complaints
from attrobust.benchmark.boards.submit import put
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store

from helpers.boards import COMMAND, NAME, row_of, with_scores
from helpers.runs import run

MINE = """
from dataclasses import dataclass
from torch.nn.functional import cross_entropy
from attrobust import Method, register_method

@register_method("smoothed-labels")
@dataclass(frozen=True, kw_only=True)
class Smoothed(Method):
    amount: float = 0.1

    def loss(self, model, x, y, generator):
        return cross_entropy(model(x), y, label_smoothing=self.amount)
"""


def packed(results: Path, name: str) -> Path:
    return results / "submissions" / name


def test_a_method_of_ones_own_is_packed_with_its_file_and_comes_out_again(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(MINE)
    words = ["--plugin", plugin, "--methods", "natural,smoothed-labels", "--out", tmp_path / "mine"]
    assert run([*COMMAND, *words], capsys)[0] == 0
    code, out, err = run(["submit", tmp_path / "mine", "--results", results, "--by", "A. Author"], capsys)
    assert code == 0, err
    assert f"fits {NAME}, track recipe (trained by the recipe of the board)" in out
    assert "cells computed again" in out
    assert "of which" in out
    folder = packed(results, "mine")
    assert read_facts(folder) == BoardFacts(version=1, licence="CC0-1.0", tracks=("recipe",), of=NAME, by="A. Author")
    assert (folder / "plugins" / "mine.py").read_text() == MINE
    assert {path.suffix for path in (folder / "checkpoints").iterdir()} == {".pt", ".toml"}
    assert not (folder / "log.txt").exists()
    assert complaints(results) == []
    assert boards_in(results) == [NAME, "submissions/mine"]
    code, out, _ = run(["verify", folder, "--recompute", "3", "--images", "2", "--plugin", plugin], capsys)
    assert code == 0, out
    code, _, err = run(["submit", tmp_path / "mine", "--results", results], capsys)
    assert code == 2
    assert "holds something already" in err


def test_weights_that_were_handed_in_are_of_another_track_and_are_packed(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (weights,) = (results / NAME / "checkpoints").glob("aga-*.pt")
    state = torch.load(weights, weights_only=True)
    torch.save({name: 1.01 * value for name, value in state.items()}, tmp_path / "mine.pt")
    words = ["--checkpoint", f"mine={tmp_path / 'mine.pt'}:lenet:width=4,hidden=8", "--out", tmp_path / "run"]
    assert run([*COMMAND, *words], capsys)[0] == 0
    to = tmp_path / "packed"
    code, out, err = run(["submit", tmp_path / "run", "--results", results, "--to", to], capsys)
    assert code == 0, err
    assert f"fits {NAME}, track weights (weights handed in)" in out
    assert "  mine: its weights were handed in" in out
    assert (to / "weights" / "mine.pt").read_bytes() == (tmp_path / "mine.pt").read_bytes()
    assert read_facts(to).tracks == ("weights",)
    shutil.move(tmp_path / "mine.pt", tmp_path / "gone.pt")
    code, out, _ = run(["verify", to, "--recompute", "100", "--images", "2"], capsys)
    assert code == 0, out
    code, _, err = run(["submit", tmp_path / "run", "--results", results, "--recompute", "1"], capsys)
    assert code == 2
    assert "the weights of mine are no longer at" in err


def test_another_recipe_is_of_the_track_of_weights(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--epochs", "2", "--out", tmp_path / "run"], capsys)[0] == 0
    code, out, err = run(["submit", tmp_path / "run", "--results", results, "--recompute", "1"], capsys)
    assert code == 0, err
    assert f"fits {NAME}, track weights" in out
    assert "  aga: trained by another recipe than any row of the board" in out


def test_what_differs_from_every_board_is_said_in_a_line_each(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", "4", "--eps", "8/255", "--metrics", "spearman,deletion", "--attacks", "noise:draws=2"]
    assert run([*COMMAND, *words, "--out", tmp_path / "run"], capsys)[0] == 0
    code, out, err = run(["submit", tmp_path / "run", "--results", results], capsys)
    assert code == 1
    assert err.startswith("not packed: it fits no board")
    lines = [line.removeprefix(f"does not fit {NAME}: ") for line in out.splitlines()]
    assert "images is 4, and the board's is 6" in lines
    assert "threat is linf 8/255, and the board's is linf 16/255" in lines
    assert "lacks attacks topk:steps=4" in lines
    assert "lacks metrics topk:k=10%, normalized-l2" in lines
    assert "other data_sha256" in lines
    assert not packed(results, "run").exists()


def test_a_run_that_was_tampered_with_is_not_packed(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results / NAME, tmp_path / "run", ignore=shutil.ignore_patterns(FILE))
    for attack in ("noise:draws=2", "topk:steps=4"):
        row = row_of(tmp_path / "run", attack=attack)
        with_scores(tmp_path / "run", row, (Store(tmp_path / "run").load(row).scores - 0.3).tolist())
    command = ["submit", tmp_path / "run", "--results", results, "--recompute", "100", "--images", "6"]
    code, out, err = run(command, capsys)
    assert code == 1
    assert "2 numbers differ" in out
    assert "not packed: what was computed again differs" in err
    (tmp_path / "run" / "leaderboard.md").write_text("| aga | 100 |")
    code, _, err = run(command, capsys)
    assert code == 1
    assert "does not say what the rows say" in err
    assert not packed(results, "run").exists()


def test_a_folder_without_boards_or_runs_is_said(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    for words, said in (
        ([results / NAME, "--results", tmp_path / "none"], "holds no board"),
        ([tmp_path / "none", "--results", results], "holds no run"),
    ):
        code, _, err = run(["submit", *words], capsys)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1


def test_a_board_is_made_of_a_run_and_grows_but_no_number_of_it_moves(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(results / NAME)
    mine = tmp_path / "mine"
    assert run([*COMMAND, "--out", mine], capsys)[0] == 0
    command = ["submit", mine, "--results", results, "--as-board", NAME, "--recompute", "1", "--images", "2"]
    code, out, err = run(command, capsys)
    assert code == 0, err
    assert "commit it" in out
    board = results / NAME
    assert {path.name for path in board.iterdir()} == {
        *("audits", "board.toml", "checkpoints", "leaderboard.bib", "leaderboard.csv", "leaderboard.md"),
        *("leaderboard.tex", "rows.jsonl", "run.json", "scores.zip"),
    }
    assert complaints(results) == []
    for row in Store(mine).rows().values():
        if isinstance(row, ScoredRow):
            assert np.array_equal(Store(board).load(row).scores, Store(mine).load(row).scores, equal_nan=True)
    before = (board / "scores.zip").read_bytes()
    assert run(command, capsys)[0] == 0
    assert (board / "scores.zip").read_bytes() == before

    # A method more is growth; a method fewer is not, and neither are other images.
    assert run([*COMMAND, "--methods", "natural,aga,softplus", "--out", mine], capsys)[0] == 0
    assert run(command, capsys)[0] == 0
    assert "softplus" in (board / "leaderboard.md").read_text()
    assert run([*COMMAND, "--methods", "natural", "--out", tmp_path / "less"], capsys)[0] == 0
    assert run([*COMMAND, "--images", "4", "--out", tmp_path / "fewer"], capsys)[0] == 0
    grown = (board / "rows.jsonl").read_bytes()
    for other in ("less", "fewer"):
        code, _, err = run(["submit", tmp_path / other, *command[2:]], capsys)
        assert code == 1
        assert "row-removed" in err or "images-removed" in err
        assert err.count("not packed: ") <= 11
        assert (board / "rows.jsonl").read_bytes() == grown
    assert sorted(path.name for path in results.iterdir()) == [NAME]


def test_a_board_is_refused_a_name_that_is_a_path_and_a_submitter(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in ((["--as-board", "../x"], "is no name"), (["--as-board", "x", "--by", "me"], "without --to")):
        code, _, err = run(["submit", results / NAME, "--results", results, *words], capsys)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1


def test_a_board_stays_where_a_new_state_of_it_cannot_be_put(results: Path, tmp_path: Path) -> None:
    board = results / NAME
    before = {path.name: path.read_bytes() for path in board.iterdir() if path.is_file()}
    with pytest.raises(OSError, match="none"):
        put(tmp_path / "none", board)
    assert {path.name: path.read_bytes() for path in board.iterdir() if path.is_file()} == before
    # What a killed command has left beside it is in nobody's way.
    (results / f".{NAME}.old").mkdir()
    (results / f".{NAME}.old" / "litter").touch()
    shutil.copytree(board, tmp_path / "packed")
    put(tmp_path / "packed", board)
    assert {path.name: path.read_bytes() for path in board.iterdir() if path.is_file()} == before
    assert [path.name for path in results.iterdir()] == [NAME]
