"""Whatever byte of a run changes, ``verify`` names the file, and ``--repair`` lets the run's command mend it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from attrobust.benchmark.report.verify import examine
from attrobust.benchmark.store.store import Store

from helpers.faults import WORDS, Capture, check_recovers, kinds
from helpers.runs import run

Times = Callable[[int, int], int]


def is_named(path: Path, folder: Path) -> bool:
    """Whether ``verify`` finds a damaged file, and says which it is."""
    words = [problem.words for problem in examine(Store(folder)).problems]
    name = path.name if path.name != "rows.jsonl" else "line "
    return any(name in line or path.stem[:12] in line for line in words)


def test_every_changed_byte_is_named(copied: Path, times: Times, capsys: Capture) -> None:
    rng = random.Random(0)
    missed, counts = [], {}
    for kind, paths in kinds(copied).items():
        counts[kind] = times(4, 60)
        for _ in range(counts[kind]):
            path = rng.choice(paths)
            data = bytearray(path.read_bytes())
            at = rng.randrange(len(data))
            before, data[at] = data[at], data[at] ^ rng.choice([1 << bit for bit in range(8)] + [rng.randrange(1, 256)])
            path.write_bytes(data)
            if not is_named(path, copied):
                missed.append((kind, at, before, data[at]))
            data[at] = before
            path.write_bytes(data)
    assert len(counts) >= 17
    assert missed == [], f"of {sum(counts.values())}"


@pytest.mark.parametrize("name", ["rows.jsonl", "run.json", "leaderboard.csv", "leaderboard.md", "checkpoints/*.toml"])
def test_other_ends_of_lines_are_named(name: str, copied: Path) -> None:
    (path,) = copied.glob(name)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert is_named(path, copied)


def test_a_torn_last_line_is_named(copied: Path) -> None:
    path = copied / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert is_named(path, copied)


def test_what_is_damaged_is_set_aside_and_computed_again(
    undisturbed: Path, whole: dict[str, bytes], times: Times, tmp_path: Path, capsys: Capture
) -> None:
    rng = random.Random(1)
    for kind, paths in kinds(undisturbed).items():
        for number in range(times(1, 5)):
            folder = tmp_path / f"{kind.replace('/', '-').replace('*', '')}-{number}"
            shutil.copytree(undisturbed, folder)
            path = folder / rng.choice(paths).relative_to(undisturbed)
            data = bytearray(path.read_bytes())
            at = rng.randrange(len(data))
            data[at] ^= rng.randrange(1, 256)
            path.write_bytes(data)
            code, out, _ = run(["verify", folder, "--repair"], capsys)
            assert code == 1
            assert f"{folder}: set aside in {folder / 'damaged'}: " in out
            aside = [item for item in (folder / "damaged").rglob("*") if item.is_file()]
            assert [item.name for item in aside] == [path.name]
            check_recovers(folder, whole, capsys)


def test_a_run_does_not_go_on_from_a_damaged_row(undisturbed: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"images": 2', b'"images": 3', 1))
    code, _, err = run([*WORDS, "--out", folder], capsys)
    assert code == 2
    assert "line 2 is not as the run wrote it; verify --repair sets it aside, and the same command computes it" in err


def test_a_published_board_is_not_set_aside(undisturbed: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "board.toml").write_text("version = 1\n")
    code, _, err = run(["verify", tmp_path / "run", "--repair"], capsys)
    assert (code, "put back from the repository" in err) == (2, True)


def test_a_sweep_whose_record_is_damaged_is_mended_too(tmp_path: Path, capsys: Capture) -> None:
    words = [*WORDS, "--eps", "4/255,8/255", "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    assert run(["verify", tmp_path], capsys)[0] == 0
    path = tmp_path / "sweep.json"
    whole = path.read_bytes()
    for changed in (whole.replace(b"eps 4/255", b"eps 2/255", 1), whole.replace(b"\n", b"\r\n"), whole[:-2], b"\xff"):
        path.write_bytes(changed)
        code, out, _ = run(["verify", tmp_path, "--repair"], capsys)
        assert code == 1
        assert f"{path} is " in out
        assert "set aside: " in out
        assert run(words, capsys)[0] == 0
        assert path.read_bytes() == whole
    assert run(["verify", tmp_path], capsys)[0] == 0
