"""The boards of this repository hold the rules, do not move unseen, and come out again from their weights."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from attrobust.benchmark.boards.board import boards_in, read_facts, stores_of
from attrobust.benchmark.boards.history import PUBLISHED, NoHistoryError, published_state
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.recompute import contests_again, recompute
from attrobust.benchmark.boards.rules import complaints
from attrobust.benchmark.boards.sample import StoredCell, cells_of, sample
from attrobust.benchmark.boards.submit import PLUGINS
from attrobust.benchmark.request.plugins import load_plugin
from attrobust.benchmark.request.training_cost import training_passes

from helpers.boards import NAME, copied, row_of, with_scores
from helpers.runs import ROOT

RESULTS = ROOT / "results"
BOARDS = boards_in(RESULTS)
EMBEDDED = ("digits", "shapes")
"""Datasets that need no files."""


def opener_of(board: str, cells: Sequence[StoredCell]) -> Opener:
    """What opens the cells of a board, with its plug-ins loaded; skips where its images are not there."""
    root = os.environ.get("ATTROBUST_DATA")
    if root is None and not {cell.rows[0].cell.dataset["name"] for cell in cells} <= set(EMBEDDED):
        pytest.skip("ATTROBUST_DATA names no folder with the images of the board")
    for plugin in sorted((RESULTS / board / PLUGINS).glob("*.py")):
        load_plugin(plugin)
    return Opener(RESULTS / board, None if root is None else Path(root))


def test_every_board_holds_the_rules() -> None:
    assert [str(complaint) for complaint in complaints(RESULTS)] == []


def test_no_published_number_moves_without_a_new_version(tmp_path: Path) -> None:
    try:
        old = published_state(RESULTS, tmp_path)
    except NoHistoryError as error:
        pytest.skip(f"there is no published state to compare with: {error}")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [str(complaint) for complaint in complaints(RESULTS, old, changelog)] == []


@pytest.mark.parametrize("board", BOARDS)
def test_the_costs_of_trainings_are_what_methods_say(board: str) -> None:
    for store in stores_of(RESULTS / board).values():
        plan, wanted = store.plan(), dict[str, float]()
        labels = {subject.sha256: subject.label for subject in plan.subjects if not subject.baseline}
        for row in store.rows().values():
            method, label = row.cell.subject.method, labels.get(row.cell.checkpoint_sha256)
            if method is not None and row.trained is not None and label and not any(row.cell.subject.plugins):
                cost = training_passes(method, row.trained, row.cell.subject.images.classes)
                wanted |= {} if cost is None else {label: cost}
        assert wanted
        assert plan.passes == wanted


@pytest.mark.parametrize("board", BOARDS)
def test_a_sample_of_the_cells_comes_out_again(board: str) -> None:
    cells = cells_of(stores_of(RESULTS / board))
    opener = opener_of(board, cells)
    found = [line for cell in sample(cells, 4, images=4) for line in recompute(cell, opener, images=4)]
    assert [str(line) for line in found] == []


@pytest.mark.parametrize("board", BOARDS)
def test_every_contest_comes_out_again(board: str) -> None:
    contested = [cell for cell in cells_of(stores_of(RESULTS / board)) if any(row.contests for row in cell.standing)]
    opener = opener_of(board, contested)
    assert [str(line) for cell in contested for line in contests_again(cell, opener)] == []


def test_submissions_are_for_boards_that_there_are() -> None:
    facts = {board: read_facts(RESULTS / board) for board in BOARDS}
    assert {board: item.of for board, item in facts.items() if item.of and item.of not in facts} == {}


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_state_that_was_published_is_found_in_git(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PUBLISHED, raising=False)
    repository = tmp_path / "repository"
    moved = copied(results, repository / "results")
    with pytest.raises(NoHistoryError, match="git"):
        published_state(moved, tmp_path / "none")
    git(repository, "init", "-q")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "first")
    with pytest.raises(NoHistoryError, match="git"):
        published_state(moved, tmp_path / "first")
    row = row_of(moved / NAME)
    with_scores(moved / NAME, row, [0.5] * row.n)
    changed = complaints(moved, published_state(moved, tmp_path / "changed"))
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    committed = complaints(moved, published_state(moved, tmp_path / "committed"))
    assert {complaint.rule for complaint in changed} == {"number-moved"}
    assert committed == changed
    (repository / "other").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "third")
    assert complaints(moved, published_state(moved, tmp_path / "third")) == []
    monkeypatch.setenv(PUBLISHED, "HEAD~2")
    assert complaints(moved, published_state(moved, tmp_path / "named")) == changed
