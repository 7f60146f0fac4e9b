"""Per-image scores are the same to the byte in a folder and in an archive; a damaged archive is named in one line."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from attrobust.benchmark.store.scores import ScoreFiles
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError

from helpers.runs import run

BOARD = Path(__file__).parents[2] / "results" / "digits-v1" / "quick"


def test_every_score_of_a_published_run_is_read_from_the_archive_and_from_files(tmp_path: Path) -> None:
    board = Store(BOARD)
    keys = [key for key in board.rows() if board.scores.read(key) is not None]
    assert len(keys) > 500
    loose = ScoreFiles(tmp_path)
    for key in keys:
        loose.write(key, board.scores.read(key) or b"")
    loose.pack()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.zip"]
    for files in (loose, ScoreFiles(tmp_path)):
        assert all(files.read(key) == board.scores.read(key) for key in keys)
    assert loose.read("none") is None


def test_packing_again_keeps_what_is_packed_and_the_newer_file(tmp_path: Path) -> None:
    files = ScoreFiles(tmp_path)
    files.pack()
    assert list(tmp_path.iterdir()) == []
    files.write("b", b"old")
    files.write("a", b"first")
    files.pack()
    packed = files.archive.read_bytes()
    files.pack()
    assert files.archive.read_bytes() == packed
    files.write("b", b"new")
    assert files.read("b") == b"new"
    files.pack()
    assert (files.read("a"), files.read("b")) == (b"first", b"new")
    other = ScoreFiles(tmp_path / "other")
    other.write("b", b"new")
    other.write("a", b"first")
    other.pack()
    assert other.archive.read_bytes() == files.archive.read_bytes()


@pytest.mark.parametrize("spoilt", ["cut", "other", "changed", "empty"])
def test_a_damaged_archive_is_said_in_one_line(tmp_path: Path, spoilt: str) -> None:
    files = ScoreFiles(tmp_path)
    files.write("a", b"scores of a row")
    files.pack()
    data = files.archive.read_bytes()
    files.archive.write_bytes(
        {"cut": data[:-40], "other": b"none", "changed": data.replace(b"of a", b"of b"), "empty": b""}[spoilt]
    )
    with pytest.raises(UsageError, match=r"scores\.zip is damaged") as raised:
        ScoreFiles(tmp_path).read("a")
    assert "\n" not in str(raised.value)


def test_an_archive_of_compressed_members_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scores.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npz", bytes(10_000_000))
    with pytest.raises(UsageError, match="compressed"):
        ScoreFiles(tmp_path).read("a")


def test_a_published_run_whose_scores_are_packed_is_read_by_all_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(BOARD, tmp_path / "run")
    Store(tmp_path / "run").scores.pack()
    assert run(["verify", tmp_path / "run"], capsys)[0] == 0
    before = (tmp_path / "run" / "leaderboard.csv").read_bytes()
    assert run(["report", tmp_path / "run"], capsys)[0] == 0
    assert (tmp_path / "run" / "leaderboard.csv").read_bytes() == before
