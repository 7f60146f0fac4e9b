"""Errors of the operating system are one line and exit code 2, whatever the command and wherever they come from."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers.faults import WORDS, Capture, check_told, tables
from helpers.runs import ROOT, run

LONG = "n" * 300
TRAINED = [*WORDS, "--model", "lenet:width=4,hidden=8", "--retrain", "--epochs", "1"]


@pytest.fixture
def place(undisturbed: Path, tmp_path: Path) -> Path:
    """A folder with a run, a file and a folder, where somebody else's files are in the way."""
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "file").write_text("somebody's")
    for name in ("dir", "dir.py", "dir.toml", "dir.pt"):
        (tmp_path / name).mkdir()
    return tmp_path


COMMANDS: list[Sequence[str]] = [
    *([*WORDS, "--out", name] for name in ("file", "file/below", LONG, f"{LONG}/below")),
    *([*WORDS, "--checkpoint", f"a={name}", "--out", "new"] for name in ("dir.pt", "file", "file/below.pt", LONG)),
    *([*WORDS, "--plugin", name, "--out", "new"] for name in ("dir.py", "dir", "file/below.py", f"{LONG}.py")),
    *([*WORDS, "--protocol", name, "--out", "new"] for name in ("dir.toml", "file/below.toml", f"{LONG}.toml")),
    *(
        [*WORDS, "--dataset", dataset, "--data-root", name, "--out", "new"]
        for dataset in ("mnist", "imagefolder")
        for name in ("file", "file/below", LONG)
    ),
    *([command, name] for command in ("report", "verify", "clean") for name in ("file", "file/below", LONG, "new")),
    *([command, name] for command in ("figures", "gallery", "submit", "publish") for name in ("file/below", LONG)),
    *(["report", "run", "--out", name] for name in ("file", "file/below", LONG)),
    ["figures", "run", "--only", "distributions", "--out", "file/below"],
    *(["check", name] for name in ("dir.py", "file/below.py", f"{LONG}.py")),
    *(["verify", "run", "--by", "A", "--stronger", name] for name in ("dir", "file", "file/below", LONG)),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[-40:].replace("/", "-"))
def test_paths_that_lead_nowhere_are_one_line(
    words: Sequence[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(place)
    before = tables(place / "run")
    code, out, err = run(words, capsys)
    check_told(code, out, err)
    assert code == 2
    assert not (place / "new").exists()
    assert ((place / "file").read_text(), tables(place / "run")) == ("somebody's", before)


@pytest.mark.parametrize("name", ["scores", "attacked", "pieces", "checkpoints"])
@pytest.mark.parametrize("put", ["file", "link to nowhere"])
def test_something_in_the_place_of_a_folder_of_a_run_is_one_line(
    put: str, name: str, place: Path, capsys: Capture
) -> None:
    folder = place / "begun"
    folder.mkdir()
    if put == "file":
        (folder / name).write_text("somebody's")
    else:
        (folder / name).symlink_to("/nowhere/at/all")
    words = TRAINED if name == "checkpoints" else WORDS
    check_told(*run([*words, "--out", folder], capsys))
    assert os.path.lexists(folder / name)


@pytest.mark.parametrize("words", [["report", "run"], ["verify", "run"], [*WORDS, "--out", "run"]], ids=lambda w: w[0])
def test_a_run_that_cannot_be_read_is_one_line(words: Sequence[str], place: Path) -> None:
    """Root reads everything unless the right to do so is given up, which only another program can."""
    drop = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    if drop and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    (place / "run" / "run.json").chmod(0)
    done = command(drop, words, place)
    check_told(done.returncode, done.stdout, done.stderr)
    assert done.returncode == 2
    assert "run.json cannot be read: Permission denied" in done.stderr


def command(
    before: Sequence[str], words: Sequence[str], cwd: Path, after: str = ""
) -> subprocess.CompletedProcess[str]:
    """The command in a shell, with what is redirected after it."""
    line = shlex.join([*before, sys.executable, str(ROOT / "run_benchmark.py"), *words])
    return subprocess.run(["bash", "-c", f"{line} {after}"], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("after", "code", "said"),
    [
        (
            ">/dev/full",
            2,
            "error: stdout cannot be written: No space left on device; what was computed is in its files",
        ),
        (">&-", 2, "error: stdout cannot be written: Bad file descriptor; what was computed is in its files"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        (">&- 2>&-", 2, ""),
        ("| head -c 1 >/dev/null; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_streams_that_cannot_be_written(after: str, code: int, said: str, place: Path) -> None:
    done = command([], ["report", "run", "--out", "again"], place, after)
    assert done.returncode == code, done.stderr
    check_told(done.returncode if said or code == 0 else 0, done.stdout, done.stderr)
    assert "ignored" not in done.stderr
    assert said in done.stderr
    assert tables(place / "again") == tables(place / "run"), "the work is kept"


@pytest.mark.parametrize(("encoding", "arrow"), [("ascii", "^"), ("latin-1", "^"), ("utf-8", "↑")])
def test_a_terminal_that_lacks_characters_gets_others(encoding: str, arrow: str, place: Path) -> None:
    line = ["env", f"PYTHONIOENCODING={encoding}"]
    done = command(line, ["report", "run"], place)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert f"Cosine {arrow}" in done.stdout or f"{arrow}\n" in done.stdout


def test_a_name_that_is_no_text_is_refused_before_anything_is_done(tmp_path: Path, capsys: Capture) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9")
    code, out, err = run([*WORDS, "--out", name], capsys)
    check_told(code, out, err)
    assert (code, "is not encoded in UTF-8; give the file another name" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []
