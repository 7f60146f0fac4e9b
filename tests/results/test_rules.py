"""The rules for published boards refuse every falsification by name, and nothing that is allowed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attrobust.benchmark.boards.board import FILE, BoardFacts, boards_in
from attrobust.benchmark.boards.rules import RULES, complaints
from attrobust.benchmark.store.store import Store

from helpers.boards import ATTACK, NAME, broken, copied, made, replanned, report, rewritten, row_of, with_scores


def edited_mean(board: Path) -> None:
    row = row_of(board)
    change = {row.fingerprint: {"mean": row.mean and row.mean + 0.05}}
    rewritten(board, lambda line: {**line, **change.get(line["fingerprint"], {})}, signed=False)


def edited_mean_signed(board: Path) -> None:
    row = row_of(board)
    change = {row.fingerprint: {"mean": row.mean and row.mean + 0.05}}
    rewritten(board, lambda line: {**line, **change.get(line["fingerprint"], {})})


def edited_table(board: Path) -> None:
    table = board / "leaderboard.md"
    table.write_text(table.read_text().replace("| aga |", "| aga\\* |", 1))


def removed_table(board: Path) -> None:
    (board / "leaderboard.csv").unlink()


def changed_scores_file(board: Path) -> None:
    path = board / "scores" / f"{row_of(board).fingerprint}.npz"
    path.write_bytes((board / "scores" / f"{row_of(board, method='natural').fingerprint}.npz").read_bytes())


def changed_scores_and_all_that_follows(board: Path) -> None:
    row = row_of(board)
    with_scores(board, row, [min(1.0, score + 0.1) for score in Store(board).load(row).scores])


def removed_line(board: Path) -> None:
    key = row_of(board).fingerprint
    rewritten(board, lambda line: None if line["fingerprint"] == key else line, signed=False)


def removed_method_and_all_that_follows(board: Path) -> None:
    def without_last(plan: dict[str, Any]) -> None:
        labels = [subject["label"] for subject in plan["subjects"]]
        (gone,) = [index for index, label in enumerate(labels) if label == "aga"]
        plan["subjects"].pop(gone)
        plan["entries"] = [entry for entry in plan["entries"] if entry["subject"] != gone]
        for entry in plan["entries"]:
            entry["subject"] -= entry["subject"] > gone

    keys = {
        entry.row for entry in Store(board).plan().entries if Store(board).plan().subjects[entry.subject].label == "aga"
    }
    replanned(board, without_last)
    rewritten(board, lambda line: None if line["fingerprint"] in keys else line)


def removed_weights(board: Path) -> None:
    for path in (board / "checkpoints").glob("aga-*"):
        path.unlink()


def changed_weights(board: Path) -> None:
    (path,) = (board / "checkpoints").glob("aga-*.pt")
    path.write_bytes(path.read_bytes() + b"\0")


def removed_licence(board: Path) -> None:
    (board / FILE).write_text("version = 1\n")


def other_licence(board: Path) -> None:
    BoardFacts(version=1, licence="CC-BY-NC-4.0").write(board)


def removed_facts(board: Path) -> None:
    (board / FILE).unlink()


def flag_without_reason(board: Path) -> None:
    rewritten(board, lambda line: flagged(line, reason=" "))


def not_audited(board: Path) -> None:
    def change(line: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in line.items() if key not in ("flags", "audit")}

    rewritten(board, change)


def removed_board(board: Path) -> None:
    shutil.rmtree(board)


def flagged(line: dict[str, Any], reason: str = "gradients are zero on 9 of 9 images") -> dict[str, Any]:
    """A row of AGA with a flag more."""
    method = (line["cell"]["subject"]["method"] or {}).get("name")
    if "audit" not in line or method != "aga":
        return line
    return {**line, "flags": [*line["flags"], {"name": "masked", "reason": reason}]}


FALSIFICATIONS: dict[Callable[[Path], None], str] = {
    edited_mean: "sound",
    edited_mean_signed: "sound",
    edited_table: "tables",
    removed_table: "tables",
    changed_scores_file: "sound",
    changed_scores_and_all_that_follows: "number-moved",
    removed_line: "row-removed",
    removed_method_and_all_that_follows: "row-removed",
    removed_weights: "weights",
    changed_weights: "weights",
    removed_licence: "licence",
    other_licence: "licence",
    removed_facts: "licence",
    flag_without_reason: "flags",
    not_audited: "flags",
    removed_board: "board-removed",
}
"""What somebody may do to a board, and the rule that refuses it."""


def test_a_board_as_it_was_published_breaks_no_rule(published: Path) -> None:
    assert complaints(published, published) == []
    assert boards_in(published) == [NAME]


@pytest.mark.parametrize("falsify", FALSIFICATIONS, ids=lambda falsify: falsify.__name__)
def test_a_falsification_is_refused_by_its_rule(
    falsify: Callable[[Path], None], results: Path, published: Path
) -> None:
    falsify(results / NAME)
    found = complaints(results, published)
    assert FALSIFICATIONS[falsify] in {complaint.rule for complaint in found}
    assert all(complaint.board == NAME and "\n" not in str(complaint) for complaint in found)


def test_whoever_forges_everything_that_follows_is_refused_by_history_alone(results: Path, published: Path) -> None:
    changed_scores_and_all_that_follows(results / NAME)
    assert broken(results) == set()
    assert broken(results, published) == {"number-moved"}
    shutil.copytree(published, results, dirs_exist_ok=True)
    removed_method_and_all_that_follows(results / NAME)
    assert broken(results) == set()
    assert broken(results, published) == {"row-removed"}


def test_fewer_images_are_refused(published: Path, tmp_path: Path) -> None:
    fewer = made(tmp_path / "results", "--images", "4")
    assert broken(fewer) == set()
    assert "images-removed" in broken(fewer, published)


def test_other_weights_are_refused_even_where_the_row_has_the_same_name(published: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "results", "--epochs", "2")
    assert broken(other) == set()
    assert {"weights-changed", "number-moved"} <= broken(other, published)


def test_a_flag_that_is_taken_away_is_refused(results: Path, tmp_path: Path) -> None:
    honest = copied(results, tmp_path / "honest")
    rewritten(honest / NAME, flagged)
    assert broken(honest) == set()
    assert broken(results, honest) == {"flag-removed"}


def test_another_number_needs_a_new_version_and_a_line_in_the_changelog(results: Path, published: Path) -> None:
    changed_scores_and_all_that_follows(results / NAME)
    BoardFacts(version=2, licence="CC0-1.0").write(results / NAME)
    assert broken(results, published) == {"version"}
    assert broken(results, published, f"- Version 1 of {NAME}.\n\n- version 2 of others") == {"version"}
    assert broken(results, published, f"- **{NAME} is now version 2**: AGA was wrong.") == set()


def test_a_version_is_never_lowered(results: Path, tmp_path: Path) -> None:
    later = copied(results, tmp_path / "later")
    BoardFacts(version=2, licence="CC0-1.0").write(later / NAME)
    assert broken(results, later) == {"version"}


def test_a_board_may_grow_and_another_may_come(published: Path, tmp_path: Path) -> None:
    grown = copied(published, tmp_path / "results")
    made(grown, "--methods", "natural,aga,softplus")
    shutil.copytree(published / NAME, grown / "digits-v2")
    assert complaints(grown, published) == []
    assert boards_in(grown) == ["digits-v1", "digits-v2"]
    assert "row-removed" in broken(published, grown)


def test_runs_of_ones_own_are_no_boards_and_submissions_are(published: Path, tmp_path: Path) -> None:
    grown = copied(published, tmp_path / "results")
    shutil.copytree(published / NAME, grown / "runs" / "mine")
    shutil.copytree(published / NAME, grown / "submissions" / "mine")
    assert boards_in(grown) == [NAME, "submissions/mine"]


def test_a_sweep_is_a_board_with_every_table_of_its_runs(tmp_path: Path) -> None:
    results = made(tmp_path / "results", "--eps", "8/255,16/255", name="by-eps")
    assert boards_in(results) == ["by-eps"]
    assert broken(results, results) == set()
    old = copied(results, tmp_path / "old")
    (results / "by-eps" / "eps-8-255" / "leaderboard.csv").unlink()
    assert broken(results) == {"tables"}
    report(results / "by-eps" / "eps-8-255")
    table = results / "by-eps" / "leaderboard.md"
    table.write_text(table.read_text() + "\n")
    assert broken(results) == {"tables"}
    report(results / "by-eps")
    row = row_of(results / "by-eps" / "eps-16-255")
    with_scores(results / "by-eps" / "eps-16-255", row, [0.0] * row.n)
    report(results / "by-eps")
    (complaint,) = complaints(results, old)
    assert complaint.rule == "number-moved"
    assert all(word in complaint.what for word in ("16/255", "aga", ATTACK, "spearman"))


def test_a_run_that_is_damaged_is_a_complaint_and_no_crash(results: Path, published: Path) -> None:
    (results / NAME / "run.json").write_text("{")
    assert broken(results, published) == {"readable"}
    (results / NAME / "run.json").write_text(json.dumps({"schema": 99}))
    assert broken(results, published) == {"readable"}


def test_what_was_published_must_stay_readable(results: Path, published: Path) -> None:
    (results / NAME / "run.json").write_text("{")
    assert broken(published, results) == {"readable"}


def test_every_rule_is_tried() -> None:
    elsewhere = {"images-removed", "weights-changed", "flag-removed", "version", "readable"}
    assert set(FALSIFICATIONS.values()) | elsewhere == set(RULES)
