"""Runs that are killed, or whose files are taken away: the same command goes on where they stopped."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from attrobust.benchmark.command.main import main
from attrobust.benchmark.store.rows import Row
from attrobust.benchmark.store.store import Store
from attrobust.files import UNFINISHED

from helpers.faults import WORDS, Capture, check_recovers, check_told, count_events, killed_at, spread, tables
from helpers.forked import Forked
from helpers.runs import run

Times = Callable[[int, int], int]


def test_a_run_goes_on_wherever_it_was_killed(
    whole: dict[str, bytes], times: Times, tmp_path: Path, capsys: Capture
) -> None:
    for number in spread(count_events(tmp_path / "counted"), times(4, 1000)):
        folder = tmp_path / str(number)
        assert killed_at(number, folder) == -signal.SIGKILL
        check_recovers(folder, whole, capsys)


def test_files_that_are_removed_in_mid_run_are_made_again(
    whole: dict[str, bytes], times: Times, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    append = Store.append
    for seed in range(times(6, 60)):
        folder, rng = tmp_path / str(seed), random.Random(seed)

        def removes(store: Store, rows: Sequence[Row], rng: random.Random = rng) -> None:
            append(store, rows)
            there = sorted(path for path in store.folder.rglob("*") if path.name not in (".lock", "log.txt"))
            victim = rng.choice(there)
            shutil.rmtree(victim) if victim.is_dir() else victim.unlink()

        with monkeypatch.context() as patch:
            patch.setattr(Store, "append", removes)
            answer = run([*WORDS, "--out", folder], capsys)
        check_told(*answer)
        check_recovers(folder, whole, capsys)


def test_of_runs_on_one_folder_one_writes_and_the_others_say_so(
    whole: dict[str, bytes], times: Times, tmp_path: Path, capsys: Capture
) -> None:
    for count in (2, 4) * times(0, 5) or (2,):
        folder = tmp_path / f"{count}"
        started = [Forked([*WORDS, "--out", folder]) for _ in range(count)]
        answers = [item.answer() for item in started]
        for code, out, err in answers:
            check_told(code if code is not None else -1, out, err)
            assert code == 0 or "another process is writing" in err
        assert 0 in [code for code, _, _ in answers]
        assert tables(folder) == whole
        check_recovers(folder, whole, capsys)
        shutil.rmtree(folder)


def test_temporary_files_of_killed_reports_are_removed_when_they_are_old(undisturbed: Path, tmp_path: Path) -> None:
    old, new = (tmp_path / f".leaderboard.csv.{age}{UNFINISHED}" for age in ("old", "new"))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    assert main(["report", str(undisturbed), "--out", str(tmp_path)]) == 0
    assert not old.exists()
    assert new.exists(), "another process may be writing it"
