"""What makes runs of many rows fast changes no number: each short way against the long one."""

from __future__ import annotations

import importlib.util
import io
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from attrobust.benchmark.report import processes
from attrobust.benchmark.run.waiting import Waiting
from attrobust.benchmark.statistics import Column, Comparison, compare, compared, estimate, estimates, spread, spreads
from attrobust.benchmark.statistics.signflip import EXACT, sign_flip, sign_flip_of_pairs
from attrobust.benchmark.store.arrays import _arrays, arrays_of
from attrobust.benchmark.store.lines import SHARED, Lines
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.upgrade import read_row
from attrobust.naming.validate import parsed
from attrobust.types import UsageError

from helpers.runs import run

REFERENCE = Path(__file__).parents[1] / "reference"
RUNS = [REFERENCE / "run_schema_2", REFERENCE / "run_schema_3"]


def rows_of(kind: str, images: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Five rows that share what images have in common."""
    rows = rng.normal(0, 1, images) + rng.normal(0, 0.5, (5, images)) + rng.choice([0.0, 0.2], (5, 1))
    match kind:
        case "on a grid":
            return np.round(2 * rows) / 2
        case "far larger than their differences":
            return 1e4 + 1e-6 * rows
        case "with holes":
            rows[rng.random(rows.shape) < 0.05] = np.nan
        case "mostly holes":
            rows[rng.random(rows.shape) < 0.4] = np.nan
        case "all but equal":
            rows[1] = rows[0]
            rows[2] = rows[0] + (np.arange(images) < EXACT - 3)
    return rows


@pytest.mark.parametrize("images", [9, 40, 300])
@pytest.mark.parametrize(
    "kind",
    ["smooth", "on a grid", "far larger than their differences", "with holes", "mostly holes", "all but equal"],
)
def test_pairs_of_a_table_have_the_p_values_of_their_differences(kind: str, images: int) -> None:
    rng = np.random.default_rng(images)
    pairs = np.array(list(itertools.combinations(range(5), 2)))
    for _ in range(3):
        rows = rows_of(kind, images, rng)
        found = sign_flip_of_pairs(rows, pairs)
        assert found.tolist() == sign_flip(rows[pairs[:, 0]] - rows[pairs[:, 1]]).tolist()


def test_columns_that_are_tested_one_by_one_are_ranked_together() -> None:
    rng = np.random.default_rng(3)
    columns = [
        Column(rows=list(rng.normal(0, 1, (4, 3, 40)) + rng.choice([0.0, 1.0], (4, 1, 1))), higher_is_better=c % 2 == 0)
        for c in range(12)
    ]
    whole = compare(columns)
    assert len({tuple(ranks) for ranks in whole}) > 2
    assert Comparison([compared(column) for column in columns]).ranks() == whole


@pytest.mark.parametrize("how", ["percentile", "bca"])
def test_numbers_found_together_are_those_found_one_by_one(how: Any) -> None:
    rng = np.random.default_rng(4)
    scores = [rng.random(50) for _ in range(6)]
    scores[1][:3] = np.nan
    scores[2] = np.full(50, np.nan)
    scores[3] = np.round(scores[3])
    scores[4] = scores[4][:1]
    units = [True, True, False, True, False, False]
    for row, unit, found in zip(scores, units, estimates(scores, units, how), strict=True):
        assert repr(found) == repr(estimate(row, how, unit=unit)), "to the last digit"
    higher = [True, False, True, False, True, False]
    together = spreads(scores, higher)
    alone = [spread(row, higher_is_better=up) for row, up in zip(scores, higher, strict=True)]
    assert list(map(repr, together)) == list(map(repr, alone))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_files_of_scores_are_read_as_numpy_reads_them(run: Path) -> None:
    for path in sorted((run / "scores").glob("*.npz")):
        data = path.read_bytes()
        with np.load(io.BytesIO(data)) as arrays:
            wanted = dict(arrays)
        found = _arrays(data, wanted, 1 << 20)
        assert found is not None, "the short way is taken"
        assert list(found) == list(wanted)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
        assert list(arrays_of(data, ["scores", "none"], images=3)) == ["scores"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("array", [np.asfortranarray(np.ones((2, 3))), np.array(["a", "bc"]), np.array(7.5)])
def test_files_of_another_form_are_left_to_numpy(save: Any, array: np.ndarray[Any, Any]) -> None:
    buffer = io.BytesIO()
    save(buffer, scores=array)
    assert arrays_of(buffer.getvalue(), ["scores"], images=3)["scores"].tolist() == array.tolist()
    with pytest.raises(ValueError, match=r"pickle|allow"):
        arrays_of(b"no file of scores", ["scores"], images=3)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_lines_are_read_as_the_validator_reads_them(run: Path) -> None:
    written = [line for line in (run / "rows.jsonl").read_bytes().split(b"\n") if line]
    old, lines = Lines(), Lines()
    rows = [old.row(line) for line in written]
    assert rows == [read_row(parsed(line)) for line in written]
    # Written again they are of today's form, which has a short way.
    today = [msgspec.json.encode(row) for row in rows if isinstance(row, ScoredRow)]
    again = [lines.row(line) for line in today]
    assert again == [read_row(parsed(line)) for line in today]
    pairs = [(a, b) for a, b in itertools.combinations(again, 2) if a.passes == b.passes]
    assert pairs
    assert all(a.passes is b.passes for a, b in pairs), "what rows share is there once"
    assert set(SHARED) < set(ScoredRow.__struct_fields__)


@pytest.mark.parametrize("spoil", [b'"n": 4', b'"more": 1, "n": 4', b'"n": "4"', b""])
def test_a_line_that_does_not_fit_is_refused_in_the_validators_words(spoil: bytes) -> None:
    row = next(row for row in Store(RUNS[-1]).rows().values() if isinstance(row, ScoredRow))
    line = msgspec.json.encode(row).replace(f'"n":{row.n},'.encode(), spoil + b"," if spoil else b"")
    try:
        wanted: object = read_row(parsed(line))
    except ValueError as error:
        with pytest.raises(type(error), match=r".") as found:
            Lines().row(line)
        assert str(found.value) == str(error)
    else:
        assert Lines().row(line) == wanted


def test_a_part_is_complete_with_its_last_job_whoever_shares_it() -> None:
    jobs = {name: SimpleNamespace(key=name) for name in "abc"}
    first, second = (SimpleNamespace(jobs=tuple(jobs[name] for name in names)) for names in ("ab", "bc"))
    waiting = Waiting([first, second])  # type: ignore[list-item]
    done = [waiting.done(jobs[name]) for name in "abbc"]  # type: ignore[arg-type]
    assert done == [[], [first], [], [second]]


def test_tables_that_are_found_in_several_processes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run of several explainers, whose places are shared out."""
    words = ["--methods", "natural,aga", "--images", "6", "--explainers", "saliency,input-x-gradient", "--no-audit"]
    words += ["--attacks", "noise:draws=2,topk:steps=2", "--metrics", "topk,cosine,gini", "--baselines", "none"]
    assert run([*words, "--out", tmp_path], capsys)[0] == 0
    before = (tmp_path / "leaderboard.csv").read_bytes()
    forked = []
    monkeypatch.setattr(processes, "LARGE", 0)
    monkeypatch.setattr(processes, "cores", lambda: 2)
    real = processes._forked
    monkeypatch.setattr(processes, "_forked", lambda *given: forked.append(given) or real(*given))
    assert run(["report", tmp_path], capsys)[0] == 0
    assert (tmp_path / "leaderboard.csv").read_bytes() == before
    assert run(["verify", tmp_path], capsys)[0] == 0
    assert len(forked) == 3, "tables twice, and rows"


def test_work_of_a_process_that_is_killed_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()

    def work(item: int) -> int:
        if item == 3 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 7:
            raise UsageError("seven")
        return 2 * item

    monkeypatch.setattr(processes, "cores", lambda: 2)
    assert list(processes._forked(work, range(6))) == [0, 2, 4, 6, 8, 10]
    with pytest.raises(UsageError, match="seven"):
        list(processes._forked(work, [1, 7]))
    # Another thread may be about to note the end of one.
    time.sleep(0.2)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_closed_terminal_that_is_ignored_is_ignored_by_all_processes(
    before: signal.Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 2)
    kept = signal.signal(signal.SIGHUP, before)
    try:
        assert set(processes._forked(lambda _: signal.getsignal(signal.SIGHUP), range(2))) == {before}
    finally:
        signal.signal(signal.SIGHUP, kept)


def test_no_process_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from attrobust.benchmark.report import processes
processes.cores = lambda: 2
list(processes._forked(lambda place: (Path(sys.argv[1], str(place)).touch(), time.sleep(60)), range(2)))
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE) as command:
        while len(list(tmp_path.iterdir())) < 2:
            assert command.poll() is None
            time.sleep(0.05)
        command.kill()
        # The end of its stderr is that of the last process that has it.
        assert command.communicate(timeout=10)[1] == b""


def test_the_script_that_measures_makes_runs_that_verify_and_are_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("scale", Path(__file__).parents[1] / "speed" / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    scale = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scale)
    sizes = {"methods": 2, "seeds": 1, "images": 12, "explainers": 1, "attacks": 2, "metrics": 2}
    rows = scale.make(sizes, tmp_path)
    code, out, _ = run(["verify", tmp_path], capsys)
    assert (code, out) == (0, f"{tmp_path}: {rows} rows recomputed and equal, 0 problems\n")
    scale.starting(sizes, tmp_path)
    # Accuracy is computed as a whole, the others in a batch each; of the last network the first and the third are left.
    cells = rows - 2 * 2
    assert capsys.readouterr().err == f"({cells - 2} cells are done, 1 batches are left)\n"
