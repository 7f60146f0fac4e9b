"""Commands that run at the same time, on the same folder or on folders inside each other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from attrobust.benchmark.command import sweep
from attrobust.benchmark.store.store import Store
from attrobust.files import UNFINISHED

from helpers.faults import WORDS, Capture, check_recovers, check_told
from helpers.runs import run

SWEEP = [*WORDS, "--eps", "4/255,8/255"]


def test_the_record_of_a_sweep_stays_while_the_sweep_is_written(tmp_path: Path, capsys: Capture) -> None:
    """It says what stands in the tables; another sweep of the folder is refused before it replaces it."""
    assert run([*SWEEP, "--out", tmp_path], capsys)[0] == 0
    before = (tmp_path / "sweep.json").read_bytes()
    with Store(tmp_path).held():
        code, _, err = run([*WORDS, "--eps", "8/255,2/255", "--out", tmp_path], capsys)
    assert (code, f"another process is writing {tmp_path}; wait" in err) == (2, True), err
    assert (tmp_path / "sweep.json").read_bytes() == before
    assert run(["verify", tmp_path], capsys)[0] == 0


def test_a_single_run_does_not_take_the_folder_of_a_sweep(tmp_path: Path, capsys: Capture) -> None:
    assert run([*SWEEP, "--out", tmp_path], capsys)[0] == 0
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run([*WORDS, "--out", tmp_path], capsys)
    assert (code, err) == (2, f"error: --out {tmp_path} holds a sweep; give this run another folder\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sweep_whose_run_is_taken_away_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write = sweep.tables

    def taken_away(folder: Path, *arguments: object) -> None:
        if folder == tmp_path:
            (tmp_path / "eps-4-255" / "run.json").unlink()
        write(folder, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "tables", taken_away)
        code, out, err = run([*SWEEP, "--out", tmp_path], capsys)
    check_told(code, out, err)
    assert (code, "error: eps 4/255 is not finished; go on with: " in err) == (2, True), err
    assert run([*SWEEP, "--out", tmp_path], capsys)[0] == 0


def test_files_that_a_run_in_a_folder_below_is_writing_stay(
    undisturbed: Path, whole: dict[str, bytes], tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    others, own = tmp_path / "run" / "mine" / "scores", tmp_path / "run" / "scores"
    others.mkdir(parents=True)
    for folder in (others, own):
        (folder / f".x{UNFINISHED}").write_text("half")
    assert run([*WORDS, "--out", tmp_path / "run"], capsys)[0] == 0
    assert (others / f".x{UNFINISHED}").exists()
    assert not (own / f".x{UNFINISHED}").exists()
    shutil.rmtree(others.parent)
    check_recovers(tmp_path / "run", whole, capsys)
