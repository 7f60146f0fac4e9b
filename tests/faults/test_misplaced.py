"""Something else in the place of a file or folder of a run is named, set aside, and the run's command goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from attrobust.benchmark.store.store import Store

from helpers.faults import WORDS, Capture, check_recovers, check_told, tables
from helpers.runs import run

SAID = {
    "folder": "is a folder, and no file",
    "file": "is a file, and no folder",
    "pipe": "is a pipe, and no {wanted}",
    "link to nowhere": "is a link to /nowhere/at/all, which does not exist",
    "link to itself": "cannot be read: Too many levels of symbolic links",
}
FILES = ("rows.jsonl", "leaderboard.html")
FOLDERS = ("scores", "attacked/*", "checkpoints")
PLACES = [(name, "file", put) for name in FILES for put in SAID if put != "file"]
PLACES += [(name, "folder", put) for name in FOLDERS for put in SAID if put != "folder"]


def put_at(path: Path, put: str) -> None:
    """Put something in the place of whatever is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if put == "folder":
        path.mkdir()
    elif put == "file":
        path.write_text("somebody's")
    elif put == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if put == "link to itself" else "/nowhere/at/all")


@pytest.mark.parametrize("put", SAID)
def test_what_takes_the_place_of_something_is_named_and_set_aside(
    put: str, undisturbed: Path, whole: dict[str, bytes], tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    for name, kind in ((name, kind) for name, kind, it in PLACES if it == put):
        path = next(folder.glob(name), folder / name)
        put_at(path, put)
        said = f"{path} {SAID[put].format(wanted=kind)}; "
        code, out, err = run([*WORDS, "--out", folder], capsys)
        check_told(code, out, err)
        assert (code, said in err) == (2, True), err
        code, out, _ = run(["verify", folder], capsys)
        assert (code, said in out) == (1, True), out
        assert run(["verify", folder, "--repair"], capsys)[0] == 1
        assert os.path.lexists(folder / "damaged" / path.relative_to(folder)), name
        if path.name == "rows.jsonl":
            (folder / "rows.jsonl").write_bytes((undisturbed / "rows.jsonl").read_bytes())
    check_recovers(folder, whole, capsys)


@pytest.mark.parametrize("name", ["damaged", "damaged/scores"])
def test_nothing_is_lost_where_nothing_can_be_set_aside(
    name: str, undisturbed: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    scores = next((folder / "scores").iterdir())
    scores.write_bytes(b"x")
    before = tables(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    put_at(folder / name, "file")
    code, out, err = run(["verify", folder, "--repair"], capsys)
    check_told(code, out, err)
    assert (code, f"{folder / name} is a file, and no folder, so that nothing" in err) == (2, True), err
    assert (scores.read_bytes(), tables(folder)) == (b"x", before)


def test_what_was_set_aside_before_is_kept(undisturbed: Path, tmp_path: Path, capsys: Capture) -> None:
    """A link to nowhere among it, which renaming would replace."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    for put in ("link to nowhere", "pipe", "folder"):
        put_at(folder / "rows.jsonl", put)
        assert run(["verify", folder, "--repair"], capsys)[0] == 1
    aside = sorted(path.name for path in (folder / "damaged").iterdir())
    assert aside == ["rows.jsonl", "rows.jsonl.2", "rows.jsonl.3"]


def test_a_lock_that_is_none_is_named(undisturbed: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    for put, said in (("folder", "is a folder, and no file"), ("link to nowhere", "is a link, and no file")):
        put_at(folder / ".lock", put)
        for words in ([*WORDS, "--out", folder], ["verify", folder, "--repair"]):
            code, out, err = run(words, capsys)
            check_told(code, out, err)
            assert (code, err) == (2, f"error: {folder / '.lock'} {said}; remove it\n")


def test_a_record_of_a_sweep_that_is_no_file_is_named(tmp_path: Path, capsys: Capture) -> None:
    assert run([*WORDS, "--eps", "4/255,8/255", "--out", tmp_path], capsys)[0] == 0
    put_at(tmp_path / "sweep.json", "link to nowhere")
    for command in ("verify", "report"):
        code, out, err = run([command, tmp_path], capsys)
        check_told(code, out, err)
        assert (code > 0, "sweep.json is a link to /nowhere/at/all, which does not exist" in out + err) == (True, True)
    assert run(["verify", tmp_path, "--repair"], capsys)[0] == 1
    assert (tmp_path / "damaged" / "sweep.json").is_symlink()
    assert Store(tmp_path / "eps-4-255").is_finished
