"""What is on disk is whole, checked and never lost."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.store import Store
from attrobust.files import UNFINISHED, write_atomically
from attrobust.types import UsageError


def row(key: str, **values: Any) -> dict[str, Any]:
    result = {"mean": 0.5, "ci": [0.4, 0.6], "n": 3, "n_defined": 3, "n_legal": 3, "scores_sha256": ""}
    metric = {"label": "gini", "name": "gini", "unit": False, "settings": {}, "plugin": ""}
    known = {"cell": {}, "metric": metric, "status": "ok", "error": "", **result}
    return {"schema": SCHEMA, "fingerprint": key, **known, **values}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "run")
    with found.locked():
        pass
    return found


def test_rows_come_back_and_the_newest_wins(store: Store) -> None:
    store.append([row("a", mean=1.0), row("b", mean=None)])
    store.append([row("a", mean=2.0)])
    assert {key: value["mean"] for key, value in store.rows().items()} == {"a": 2.0, "b": None}


def test_a_torn_last_line_is_no_row_and_does_not_spoil_the_next(store: Store) -> None:
    store.append([row("a")])
    path = store.folder / "rows.jsonl"
    path.write_bytes(path.read_bytes() + b'{"cell": {}, "finge')
    assert list(store.rows()) == ["a"]
    with store.locked():
        store.append([row("b")])
    assert list(store.rows()) == ["a", "b"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_full_disk_leaves_no_torn_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append([row("a")])

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("attrobust.benchmark.store.store.os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            store.append([row("b")])
    store.append([row("c")])
    assert list(store.rows()) == ["a", "c"]


def test_damage_in_the_middle_is_named_not_skipped(store: Store) -> None:
    store.append([row("a"), row("b")])
    path = store.folder / "rows.jsonl"
    path.write_text(path.read_text().replace("fingerprint", 'finger"print', 1))
    with pytest.raises(UsageError, match="line 1 is damaged"):
        store.rows()


def test_rows_of_another_schema_are_refused(store: Store) -> None:
    store.append([row("a") | {"schema": 99}])
    with pytest.raises(UsageError, match=f"is no row of schema {SCHEMA}"):
        store.rows()


def test_scores_are_checked_against_the_hash_of_their_row(store: Store) -> None:
    scores, legal = np.array([0.1, np.nan, 1.0]), np.array([True, False, True])
    good = row("a", scores_sha256=store.save_scores("a", scores, legal))
    loaded = store.load_scores(good)
    assert np.array_equal(loaded[0], scores, equal_nan=True)
    assert np.array_equal(loaded[1], legal)
    assert store.has_scores(good)
    store.save_scores("a", scores + 1, legal)
    assert not store.has_scores(good)
    with pytest.raises(UsageError, match="is not the file its row was written with"):
        store.load_scores(good)
    (store.folder / "scores" / "a.npz").unlink()
    with pytest.raises(UsageError, match="missing"):
        store.load_scores(good)


def test_the_same_scores_are_the_same_bytes(store: Store) -> None:
    scores, legal = np.arange(5.0), np.ones(5, dtype=bool)
    assert store.save_scores("a", scores, legal) == store.save_scores("b", scores, legal)


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


@pytest.mark.parametrize("lost", ["status", "cell", "ci", "scores_sha256"])
def test_a_row_that_lacks_something_is_named(lost: str, store: Store) -> None:
    store.append([{key: value for key, value in row("a").items() if key != lost}])
    with pytest.raises(UsageError, match="line 1 is no row"):
        store.rows()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": SCHEMA - 1}, rf"another version \(schema {SCHEMA - 1}, not {SCHEMA}\).* with another --out"),
        ({"schema": "2"}, r"\(schema\); delete it or choose another --out, and run"),
        ({"interval": "wilson"}, r"\(interval\); delete it"),
        ({"entries": "none"}, r"\(entries\); delete it"),
        ({"entries": [{"subject": 0, **dict.fromkeys(("explainer", "attack", "metric", "row"), "")}]}, "of no subject"),
    ],
)
def test_a_plan_of_another_shape_is_named(change: dict[str, object], said: str, store: Store) -> None:
    texts = ("protocol", "dataset", "model", "threat", "label", "reduction", "data_sha256")
    plan = {
        "schema": SCHEMA,
        "comparison": {**dict.fromkeys(texts, ""), "images": 3, "keep_prediction": True},
        **{key: [] for key in ("explainers", "attacks", "metrics", "subjects", "entries")},
        "interval": "percentile",
    }
    path = store.folder / "run.json"
    path.write_text(json.dumps(plan))
    assert store.plan() == plan
    path.write_text(json.dumps(plan | change))
    with pytest.raises(UsageError, match=said):
        store.plan()


def test_a_run_that_lost_its_plan_goes_on(store: Store) -> None:
    store.append([row("a")])
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
    with pytest.raises(UsageError, match="holds a folder where a run keeps a file"), Store(tmp_path).locked():
        pass
