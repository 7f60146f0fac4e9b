"""A disk that is full: what is on it stays whole, and the same command goes on when there is room."""

from __future__ import annotations

import errno
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attrobust.benchmark.store.store import Store
from attrobust.files import append

from helpers.faults import WORDS, Capture, check_recovers, check_told, count_events, failing_at, spread
from helpers.records import scored
from helpers.runs import ROOT, run

Times = Callable[[int, int], int]


@contextmanager
def limited_to(size: int) -> Iterator[None]:
    """Inside the block no file of this process can grow beyond a number of bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_rows_are_whole_wherever_the_room_ends(tmp_path: Path, times: Times) -> None:
    store = Store(tmp_path / "run")
    with store.locked():
        store.append([scored("a")])
        path = store.folder / "rows.jsonl"
        before = path.read_bytes()
        for room in spread(len(before), times(60, 100_000)):
            with limited_to(len(before) + room - 1), pytest.raises(OSError, match=r"rows\.jsonl") as raised:
                store.append([scored("b")])
            assert raised.value.errno == errno.EFBIG
            assert path.read_bytes() == before
        store.append([scored("c")])
    assert list(store.rows()) == ["a", "c"]


def test_what_is_larger_than_a_buffer_is_whole_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with limited_to(100_000), pytest.raises(OSError, match="file"):
        append(path, bytes(1_000_000))
    assert path.read_bytes() == b"before"


def test_a_run_survives_files_that_cannot_grow(
    undisturbed: Path, whole: dict[str, bytes], times: Times, tmp_path: Path, capsys: Capture
) -> None:
    largest = max(path.stat().st_size for path in undisturbed.rglob("*"))
    for number, size in enumerate(spread(largest, times(4, 30))):
        folder = tmp_path / str(number)
        with limited_to(size):
            answer = run([*WORDS, "--out", folder], capsys)
        check_told(*answer)
        check_recovers(folder, whole, capsys)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_a_run_survives_an_error_at_any_write(
    code: int, whole: dict[str, bytes], times: Times, tmp_path: Path, capsys: Capture
) -> None:
    count = count_events(tmp_path / "counted")
    for number in spread(count, times(3, 1000)):
        folder = tmp_path / str(number)
        with failing_at(number, code):
            answer = run([*WORDS, "--out", folder], capsys)
        check_told(*answer)
        check_recovers(folder, whole, capsys)


def test_a_run_survives_a_file_system_that_is_full(whole: dict[str, bytes], times: Times, tmp_path: Path) -> None:
    """A file system in memory, in a namespace of its own; kilobytes that are enough for nothing, some or all of it."""
    if not times(0, 1) or shutil.which("unshare") is None:
        pytest.skip("with --long, where namespaces can be made")
    command = f"{sys.executable} {ROOT / 'run_benchmark.py'}"
    words = f"{command} {' '.join(WORDS)} --out disk/run"
    for kilobytes in (4, 8, 16, 32, 64, 128, 256):
        (tmp_path / "disk").mkdir(exist_ok=True)
        script = (
            f"mount -t tmpfs -o size={kilobytes}k none disk || exit; {words} 2>first; mount -o remount,size=8m disk"
            f" && {words} >second 2>&1 && {command} verify disk/run >verified && cp -r disk/run copied"
        )
        line = ["unshare", "-rm", "bash", "-c", script]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip("namespaces cannot be made here")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in (tmp_path / "first").read_text()
        assert {name: (tmp_path / "copied" / name).read_bytes() for name in whole} == whole
        shutil.rmtree(tmp_path / "copied")
