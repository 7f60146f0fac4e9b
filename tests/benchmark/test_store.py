"""What is on disk is whole, checked and never lost."""

from __future__ import annotations

import json
import multiprocessing
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.store import Store
from attrobust.files import UNFINISHED, write_atomically
from attrobust.naming.validate import as_json
from attrobust.types import UsageError

from helpers.records import plan, scored


def write(store: Store, values: list[dict[str, Any]]) -> None:
    (store.folder / "rows.jsonl").write_text("".join(json.dumps(value, sort_keys=True) + "\n" for value in values))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "run")
    with found.locked():
        pass
    return found


def test_rows_come_back_and_the_newest_wins(store: Store) -> None:
    store.append([scored("a", mean=1.0), scored("b", mean=None)])
    store.append([scored("a", mean=2.0)])
    assert {key: row.mean for key, row in store.rows().items() if isinstance(row, ScoredRow)} == {"a": 2.0, "b": None}


def test_a_torn_last_line_is_no_row_and_does_not_spoil_the_next(store: Store) -> None:
    store.append([scored("a")])
    path = store.folder / "rows.jsonl"
    path.write_bytes(path.read_bytes() + b'{"cell": {}, "finge')
    assert list(store.rows()) == ["a"]
    with store.locked():
        store.append([scored("b")])
    assert list(store.rows()) == ["a", "b"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_full_disk_leaves_no_torn_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append([scored("a")])

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("attrobust.files.os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            store.append([scored("b")])
    store.append([scored("c")])
    assert list(store.rows()) == ["a", "c"]


def test_damage_in_the_middle_is_named_not_skipped(store: Store) -> None:
    store.append([scored("a"), scored("b")])
    path = store.folder / "rows.jsonl"
    path.write_text(path.read_text().replace("fingerprint", 'finger"print', 1))
    with pytest.raises(UsageError, match="line 1 is damaged"):
        store.rows()


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (99, rf"line 1 is no row of schema {SCHEMA} \(schema 99, of a newer version; this one reads 2 to {SCHEMA}\)"),
        (1, rf"line 1 is no row of schema {SCHEMA} \(schema 1, of an older version"),
        ("3", r"\(schema must be int, not '3'\); verify --repair"),
        (True, r"\(schema must be int, not True\); verify --repair"),
    ],
)
def test_rows_of_another_schema_are_refused(schema: object, said: str, store: Store) -> None:
    write(store, [as_json(scored("a")) | {"schema": schema}])
    with pytest.raises(UsageError, match=said):
        store.rows()


def test_scores_are_checked_against_the_hash_of_their_row(store: Store) -> None:
    scores, feasible = np.array([0.1, np.nan, 1.0]), np.array([True, False, True])
    good = scored("a", scores_sha256=store.save_scores("a", scores, feasible))
    loaded = store.load_scores(good)
    assert np.array_equal(loaded[0], scores, equal_nan=True)
    assert np.array_equal(loaded[1], feasible)
    assert store.has_scores(good)
    store.save_scores("a", scores + 1, feasible)
    assert not store.has_scores(good)
    with pytest.raises(UsageError, match="is not the file its row was written with"):
        store.load_scores(good)
    (store.folder / "scores" / "a.npz").unlink()
    with pytest.raises(UsageError, match="missing"):
        store.load_scores(good)


def test_the_same_scores_are_the_same_bytes(store: Store) -> None:
    scores, feasible = np.arange(5.0), np.ones(5, dtype=bool)
    assert store.save_scores("a", scores, feasible) == store.save_scores("b", scores, feasible)


def hold(folder: str, ready: Any, done: Any) -> None:
    with Store(Path(folder)).locked():
        ready.set()
        done.wait(30)


def test_two_processes_cannot_write_one_run(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(store.folder), ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UsageError, match="another process is writing"), store.locked():
            pass
    finally:
        done.set()
        process.join()


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, "old")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("attrobust.files.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_litter_of_a_killed_process_is_swept(store: Store) -> None:
    litter = store.folder / "scores" / f".a.npz.x1y2{UNFINISHED}"
    litter.parent.mkdir()
    litter.write_bytes(b"half")
    (store.folder / "src").mkdir()
    foreign = [store.folder / ".gitlab-ci.yml", store.folder / "src" / ".prettierrc.json", store.folder / "notes.tmp"]
    for path in foreign:
        path.write_text("a user's own")
    with store.locked():
        assert not litter.exists()
        assert all(path.exists() for path in foreign)


def test_a_folder_without_a_run_and_a_file_in_its_place_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        Store(tmp_path).plan()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"), Store(tmp_path / "file").locked():
        pass


@pytest.mark.parametrize("lost", ["status", "cell", "ci", "scores_sha256", "cell.subject.model", "metric.unit"])
def test_a_row_that_lacks_something_is_named(lost: str, store: Store) -> None:
    value = inner = as_json(scored("a"))
    *path, last = lost.split(".")
    for key in path:
        inner = inner[key]
    del inner[last]
    write(store, [value])
    with pytest.raises(UsageError, match=rf"line 1 is no row of schema {SCHEMA} \({re.escape(lost)} is missing\)"):
        store.rows()


def test_a_row_with_something_that_no_row_has_is_named(store: Store) -> None:
    write(store, [as_json(scored("a")) | {"flagz": []}])
    with pytest.raises(UsageError, match=r"\(flagz is not known\)"):
        store.rows()


ENTRY = {"subject": 0, **dict.fromkeys(("explainer", "attack", "metric", "row"), "")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 1}, rf"another version \(schema 1, of an older.* reads 2 to {SCHEMA}\).* with another --out"),
        ({"schema": 99}, rf"another version \(schema 99, of a newer.* reads 2 to {SCHEMA}\).* with another --out"),
        (
            {"schema": "3"},
            r"\(schema must be int, not '3'\); choose another --out, or let verify --repair set it aside and run",
        ),
        ({"interval": "wilson"}, r"\(interval 'wilson' is not one of percentile, bca\); choose another --out"),
        ({"entries": "none"}, r"\(entries must be list, not 'none'\); choose another --out"),
        ({"entries": [ENTRY]}, "of no subject"),
        (
            {"entries": [ENTRY | {"subject": "0"}]},
            r"\(entries\.0\.subject must be int, not '0'\); choose another --out",
        ),
        ({"checkpoints": {"mine": 3}}, r"\(checkpoints\.mine must be dict, not 3\); choose another --out"),
    ],
)
def test_a_plan_of_another_shape_is_named(change: dict[str, object], said: str, store: Store) -> None:
    path = store.folder / "run.json"
    store.write_plan(plan())
    assert store.plan() == plan()
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=said):
        store.plan()


def test_a_plan_that_is_no_json_is_damaged(store: Store) -> None:
    for text in (b"{", b"\xff", b"[" * 100_000, b'{"schema": NaN}'):
        (store.folder / "run.json").write_bytes(text)
        with pytest.raises(UsageError, match="is damaged"):
            store.plan()


def test_a_run_that_lost_its_plan_goes_on(store: Store) -> None:
    store.append([scored("a")])
    (store.folder / "leaderboard.csv").write_text("")
    with store.locked():
        assert list(store.rows()) == ["a"]


@pytest.mark.parametrize(
    ("name", "content"), [("rows.jsonl", "my data"), ("run.json", '{"mine": 1}'), ("leaderboard.tex", "my paper")]
)
def test_a_folder_with_somebody_elses_files_is_refused_untouched(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=r"choose another --out|run the benchmark again"), Store(tmp_path).locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.txt").mkdir()
    refused = pytest.raises(UsageError, match=r"log\.txt is a folder, and no file; let verify --repair set it aside")
    with refused, Store(tmp_path).locked():
        pass
