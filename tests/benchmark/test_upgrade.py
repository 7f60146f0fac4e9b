"""Runs of older schemas are read as they always were: the same table to the byte, every row sound."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attrobust.benchmark.report import csv
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.older import older_tables
from attrobust.benchmark.store.rows import FailedRow, ScoredRow
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.store import Store

from helpers.edits import EDITS, edited, places
from helpers.runs import run, write_plan, written_plan, written_rows

Capture = pytest.CaptureFixture[str]
REFERENCE = Path(__file__).parents[1] / "reference"
OLD = REFERENCE / "run_schema_2"
TRIED = 60


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(OLD, tmp_path / "old")
    return tmp_path / "old"


def rewritten(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    rows = [*written_rows(folder).values()]
    change(rows)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_run_has_what_runs_had() -> None:
    rows, plan = [*written_rows(OLD).values()], written_plan(OLD)
    assert {row["schema"] for row in rows} == {plan["schema"]} == {2}
    assert {row["status"] for row in rows} == {"ok", "failed"}
    assert {row["split"] for row in rows} == {"test", "val"}
    for key in ("flags", "repeats", "members"):
        assert any(row.get(key) for row in rows), key
    assert any(row["cell"]["donor_sha256"] for row in rows)
    assert plan["choices"][0]["chosen"] == "aga:cosd=1"
    assert all("control" in subject for subject in plan["subjects"])


def test_its_table_is_the_same_to_the_byte(old: Path, capsys: Capture) -> None:
    (old / "leaderboard.csv").unlink()
    code, out, err = run(["report", old, "--export", "csv"], capsys)
    assert code == 0, err
    table = (old / "leaderboard.csv").read_text()
    assert older_tables(csv.render, build([Store(old)]))[1] == (OLD / "leaderboard.csv").read_text()
    assert ",baseline,scope," in table.partition("\n")[0]
    assert "aga:cosd=1 was chosen from the 2 of aga:cosd={0.1,1}" in out
    for name in ("run.json", "rows.jsonl"):
        assert (old / name).read_bytes() == (OLD / name).read_bytes(), "reading changes nothing on disk"


def test_every_row_is_sound_and_only_the_failed_ones_are_problems(old: Path, capsys: Capture) -> None:
    code, out, _ = run(["verify", old], capsys)
    *problems, last = out.splitlines()
    assert code == 1
    assert last == f"{old}: 18 rows recomputed and equal, 7 problems"
    assert all("failed: fragile:scale=2: training failed" in line for line in problems)


def test_a_table_of_its_sound_rows_has_no_problem_at_all(old: Path, capsys: Capture) -> None:
    plan = written_plan(old)
    kept = [index for index, subject in enumerate(plan["subjects"]) if subject["sha256"]]
    plan["subjects"] = [plan["subjects"][index] for index in kept]
    plan["entries"] = [entry for entry in plan["entries"] if entry["subject"] in kept]
    write_plan(old, plan)
    assert run(["report", old], capsys)[0] == 0
    code, out, _ = run(["verify", old], capsys)
    assert (code, out) == (0, f"{old}: 18 rows recomputed and equal, 0 problems\n")


def test_nothing_but_the_words_is_new_when_it_is_read(old: Path) -> None:
    store, written = Store(old), written_rows(old)
    for key, row in store.rows().items():
        before = written[key]
        assert row.schema == SCHEMA
        assert row.cell.source_model_sha256 == before["cell"]["donor_sha256"]
        assert row.metric.scope == before["metric"].get("scope", "accuracy")
        if isinstance(row, FailedRow):
            assert row.error == before["error"]
            continue
        assert (row.mean, [*row.ci], row.n_feasible) == (before["mean"], before["ci"], before["n_legal"])
        with np.load(old / "scores" / f"{key}.npz") as arrays:
            assert np.array_equal(store.load_scores(row)[1], arrays["legal"])
    assert {line.problem for line in store.lines.examined()} == {""}
    assert [subject.baseline for subject in store.plan().subjects] == [False] * 3


def test_a_changed_cell_is_another_cell_in_old_rows_too(old: Path, capsys: Capture) -> None:
    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[0]["cell"]["seed"] = 5
        rows[1]["cell"]["donor_sha256"] = "0" * 64
        rows[2]["cell"]["more"] = 1

    rewritten(old, spoil)
    out = run(["verify", old], capsys)[1]
    assert out.count("its fingerprint is not that of its cell and metric") == 3
    assert "15 rows recomputed and equal" in out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda row: row.pop("n_legal"), "(n_legal is missing)"),
        (lambda row: row.update(n_legal="x"), "(n_legal must be int, not 'x')"),
        (lambda row: row["cell"].update(donor_sha256=3), "(cell.donor_sha256 must be str, not 3)"),
        (lambda row: row.update(cell=[]), "(cell must be dict, not [])"),
        (lambda row: row.update(metric=None), "(metric must be dict, not None)"),
        (lambda row: row["metric"].update(unit=1), "(metric.unit must be bool, not 1)"),
    ],
)
def test_damage_is_named_in_the_words_of_the_file(spoil: Any, said: str, old: Path, capsys: Capture) -> None:
    rewritten(old, lambda rows: spoil(rows[0]))
    code, out, err = run(["verify", old], capsys)
    assert (code, err) == (1, "")
    assert f"rows.jsonl line 1 is damaged {said}; remove its line" in out
    code, _, err = run(["report", old], capsys)
    assert code == 2
    assert f"rows.jsonl line 1 is no row of schema {SCHEMA} {said}; verify --repair sets it aside" in err


def test_a_damaged_plan_is_named_in_the_words_of_the_file(old: Path, capsys: Capture) -> None:
    plan = written_plan(old)
    plan["subjects"][1]["control"] = "no"
    write_plan(old, plan)
    code, _, err = run(["report", old], capsys)
    assert code == 2
    assert "run.json is no plan (subjects.1.control must be bool, not 'no'); choose another" in err


def test_whatever_is_edited_in_it_report_and_verify_end_in_words(old: Path, capsys: Capture) -> None:
    plan, rows, rng, codes = written_plan(old), [*written_rows(old).values()], random.Random(0), set()
    for _ in range(TRIED):
        shown, kept = plan, [*rows]
        if rng.random() < 0.5:
            shown = edited(plan, rng.choice(list(places(plan))), rng.choice(EDITS))
        else:
            at = rng.randrange(len(rows))
            kept[at] = edited(rows[at], rng.choice(list(places(rows[at]))), rng.choice(EDITS))
        write_plan(old, shown)
        (old / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        for command in ("verify", "report"):
            code, _, err = run([command, old, *(["--export", "csv"] if command == "report" else [])], capsys)
            assert code in (0, 1, 2)
            assert code != 2 or (err.startswith("error: ") and err.count("\n") == 1), err
            codes.add((command, code))
    assert codes - {("verify", 2)} == {("verify", 1), ("report", 0), ("report", 2)}, "another version is exit code 2"


def test_rows_of_two_schemas_stand_in_one_file(old: Path) -> None:
    store = Store(old)
    found = store.rows()
    first = next(row for row in found.values() if isinstance(row, ScoredRow))
    store.append([first])
    assert store.rows() == {**found, first.fingerprint: first.signed()}
    lines = (old / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["schema"] for line in lines] == [2] * (len(lines) - 1) + [SCHEMA]


@pytest.fixture
def third(tmp_path: Path) -> Path:
    """Two shipped networks, a user's of another activation and two sanity-check baselines, as schema 3 had them."""
    shutil.copytree(REFERENCE / "run_schema_3", tmp_path / "third")
    return tmp_path / "third"


def test_a_run_of_schema_3_is_sound_with_the_tables_it_has(third: Path, capsys: Capture) -> None:
    assert {row["schema"] for row in written_rows(third).values()} == {written_plan(third)["schema"]} == {3}
    for suffix in ("md", "tex"):
        (third / f"leaderboard.{suffix}").unlink()
    assert run(["verify", third], capsys)[:2] == (0, f"{third}: 21 rows recomputed and equal, 0 problems\n")


def test_other_tables_of_schema_3_are_to_be_written_again(third: Path, capsys: Capture) -> None:
    code, out, _ = run(["verify", third], capsys)
    assert code == 1
    for suffix in ("md", "tex"):
        assert f"{third}/leaderboard.{suffix} does not say what the rows say; write it again with report" in out
    assert run(["report", third], capsys)[0] == 0
    assert run(["verify", third], capsys)[0] == 0


def test_tables_of_schema_3_made_again_say_how_networks_were_trained(third: Path, capsys: Capture) -> None:
    code, out, _ = run(["report", third, "--export", "csv,markdown,latex"], capsys)
    assert code == 0
    assert ". Trained for 20 epochs, adam, learning rate 0.003, one-cycle, batch size 64, clip 1." in " ".join(
        out.split()
    )
    assert "mine (lenet:activation=softplus," in out, "as typed is not known"
    before, after = (pd.read_csv(folder / "leaderboard.csv") for folder in (REFERENCE / "run_schema_3", third))
    kept = after[after["scope"] != "worst"].reset_index(drop=True)
    shared = [name for name in before if name not in ("model", "rank", "best")]
    pd.testing.assert_frame_equal(before[shared], kept[shared])
    ranked = before["scope"].notna().to_numpy()
    pd.testing.assert_series_equal(before["rank"][ranked], kept["rank"][ranked])
    assert set(after[after["method"] == "aga"]["epochs"]) == {20}
    assert run(["verify", third], capsys)[0] == 0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda plan: plan["subjects"][0].update(seed=1), "trained"),
        (lambda plan: plan["recipe"].update(epochs=6), "trained"),
        (lambda plan: plan["subjects"][1].update(label="natural"), "method"),
        (lambda plan: plan["attacks"][1].update(label="topk:steps=3"), "attack"),
        (lambda plan: plan["comparison"].update(model="lenet:width=8"), "architecture"),
    ],
)
def test_plans_of_schema_3_are_held_to_rows_and_cards_as_far_as_these_say(
    change: Any, name: str, third: Path, capsys: Capture
) -> None:
    plan = written_plan(third)
    change(plan)
    for entry in plan["entries"]:
        entry["attack"] = entry["attack"].replace("topk:steps=2", plan["attacks"][1]["label"])
    write_plan(third, plan)
    run(["report", third, "--export", "csv,markdown,latex"], capsys)
    code, out, _ = run(["verify", third], capsys)
    said = {line.partition("run.json does not say what the rows say: ")[2] for line in out.splitlines()}
    assert code == 1
    assert name in said, out
