"""Files that are larger than the memory, and what a machine has no more of, are one line."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

import pytest

import attrobust.files
from attrobust.benchmark.command import main as command

from helpers.faults import WORDS, Capture, check_told
from helpers.runs import run


def test_a_file_of_holes_is_refused_before_it_is_read(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """It takes no room on the disk, and would take all of the memory."""
    monkeypatch.setattr(attrobust.files, "memory", lambda: 0)
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    scores, attacked = (next(path for path in folder.glob(name)) for name in ("scores/*", "attacked/*/*"))
    for path in (folder / "rows.jsonl", folder / "run.json", scores, attacked, folder / "sweep.json"):
        before = path.read_bytes() if path.exists() else b""
        with path.open("wb") as file:
            file.truncate(attrobust.files.SMALL + 1)
        code, out, err = run(["verify", folder], capsys)
        check_told(code, out, err)
        assert code, path
        assert "is larger than the free memory: 268.4 MB" in out + err or "is damaged" in out + err, out + err
        path.write_bytes(before)
    (folder / "sweep.json").unlink()
    assert run(["verify", folder], capsys)[0] == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "there is not enough memory"),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "too many files are open; what was computed is kept: allow more",
        ),
        (RuntimeError("can't start new thread"), "the system lets this user start no more threads"),
    ],
)
def test_what_is_used_up_is_one_line(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(command, "_benchmark", fail)
    code, _, err = run([*WORDS, "--out", tmp_path / "run"], capsys)
    assert (code, err.startswith(f"error: {said}"), len(err.splitlines())) == (2, True, 1), err


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="a second file system is that of shared memory")
def test_a_folder_for_what_is_damaged_on_another_file_system_is_named(
    undisturbed: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    path = next(folder.glob("attacked/*/*"))
    path.write_bytes(b"x")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if Path(elsewhere).stat().st_dev == folder.stat().st_dev:
            pytest.skip("shared memory is on the same file system")
        (folder / "damaged").symlink_to(elsewhere)
        code, _, err = run(["verify", folder, "--repair"], capsys)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert f"{folder / 'damaged'} is on another file system than" in err
        assert path.read_bytes() == b"x"


@pytest.mark.parametrize("words", [["--out=--"], ["--methods=--"], ["--plugin=--"], ["--images=--"]], ids=str)
def test_two_dashes_are_no_value(words: list[str], capsys: Capture) -> None:
    """Python's parser takes them out, so that nothing is left."""
    code, _, err = run(words, capsys)
    assert (code, err) == (2, f"error: argument {words[0][:-3]}: -- is no value (see --help)\n")
