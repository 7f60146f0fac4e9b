"""One bar for a whole command: the images of the work that there is, and below it what is being done."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from attrobust.benchmark.command.logs import logging_to
from attrobust.benchmark.executors.base import Job, Result
from attrobust.benchmark.executors.progress import LINES, RunBar, command_bar
from attrobust.benchmark.executors.serial import Serial
from attrobust.benchmark.run.assembly import CELL

from helpers.runs import FAST, ROOT

COUNTS = re.compile(r"(\d+)/(\d+) \[")


class Terminal(io.StringIO):
    """Text that claims to be a screen."""

    def isatty(self) -> bool:
        return True


def screen_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error from now on; pytest puts its own in place between a fixture and its test."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def jobs(*images: int, name: str = "job") -> list[Job]:
    return [Job(key=f"{name}{place}", label=f"{name} {place}", images=count) for place, count in enumerate(images)]


def carried_out(wanted: Sequence[Job], done: set[str], executor: Serial) -> None:
    """Carry jobs out, of which some are done already."""
    for _ in executor.run(wanted, lambda job: Result() if job.key in done else job):
        pass


def counts(screen: Terminal) -> list[tuple[int, int]]:
    return [(int(done), int(total)) for done, total in COUNTS.findall(screen.getvalue())]


@pytest.fixture
def executor() -> Iterator[Serial]:
    found = Serial(lambda _: Result())
    yield found
    found.close()


def test_without_a_terminal_there_is_no_bar(executor: Serial, capsys: pytest.CaptureFixture[str]) -> None:
    with command_bar([6]) as bar:
        bar.begin(0)
        carried_out(jobs(2, 4), set(), executor)
        bar.end(0)
    assert capsys.readouterr().err == ""


def test_a_bar_counts_the_images_of_the_work_that_there_is(executor: Serial, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    first, *others = jobs(8, 8, 8)
    with RunBar([first, *others]) as bar:
        bar.done(first)
        bar.tick()
        assert counts(screen)[-1] == (0, 16)
        for job in others:
            bar.begun(job)
            bar.done(job)
            bar.tick()
    shown = counts(screen)
    assert shown[-1] == (16, 16), "what was done before is no work"


def test_all_runs_of_a_command_move_one_bar(executor: Serial, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    with command_bar([6, 8]) as bar:
        for run, images in enumerate([(2, 4, 5), (8, 7)]):
            bar.begin(run)
            known = {f"run{run} {len(images) - 1}".replace(" ", "")}
            carried_out(jobs(*images, name=f"run{run}"), known, executor)
            bar.bar.refresh()
            bar.end(run)
    found = counts(screen)
    assert {total for _, total in found} == {14}
    assert [done for done, _ in found] == sorted(done for done, _ in found)
    assert found[-1] == (14, 14)
    assert "run 1 of 2" in screen.getvalue() and "run 2 of 2" in screen.getvalue()


def test_a_run_that_chooses_counts_as_it_goes(executor: Serial, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    with command_bar([None]) as bar:
        bar.begin(0)
        carried_out(jobs(4, name="candidate"), set(), executor)
        bar.bar.refresh()
        carried_out(jobs(3, 9, name="row"), {"row1"}, executor)
        bar.bar.refresh()
    assert counts(screen)[-1] == (7, 7)


def test_what_is_being_done_stands_below_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    many = jobs(*[1] * (LINES + 3), name="cell")
    with RunBar(many) as bar:
        for job in many[:2]:
            bar.begun(job)
        assert "  cell 0" in screen.getvalue() and "  cell 1" in screen.getvalue()
        assert "\n" in screen.getvalue(), "on lines of their own"
        for job in many[2:]:
            bar.begun(job)
        assert "and 4 more" in screen.getvalue()
        assert f"cell {LINES + 2}" not in screen.getvalue()


def test_nothing_is_drawn_where_there_is_nothing_to_do(executor: Serial, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    with command_bar([0]) as bar:
        bar.begin(0)
        carried_out(jobs(2, 4), {"job0", "job1"}, executor)
        bar.end(0)
    assert screen.getvalue() == ""


@pytest.mark.parametrize("is_terminal", [False, True])
def test_cells_that_a_bar_shows_are_not_said_on_the_screen_too(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log = logging.getLogger("attrobust")
    with logging_to(tmp_path / "log.txt"):
        log.info("aga / saliency: 1.0 s", extra=CELL)
        log.info("computing with 2 processes")
    assert ("aga / saliency" in stream.getvalue()) != is_terminal
    assert "computing with" in stream.getvalue()
    assert "aga / saliency: 1.0 s" in (tmp_path / "log.txt").read_text()


def on_terminal(words: Sequence[str | Path]) -> str:
    """What the command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *map(str, words)]
    environment = {**os.environ, "COLUMNS": "100"}
    process = subprocess.Popen(line, cwd=ROOT, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    parts = []
    while select.select([ours], [], [], 120)[0]:
        try:
            parts.append(os.read(ours, 65536))
        except OSError:
            break
    os.close(ours)
    assert process.wait(timeout=30) == 0
    return b"".join(parts).decode()


def test_processes_draw_no_bars_of_their_own_and_the_verdict_comes_last(tmp_path: Path) -> None:
    shown = on_terminal(["--methods", "natural", *FAST, "--workers", "2", "--out", tmp_path / "run"])
    bars = {words.rpartition("\r")[2].strip() for words in re.findall(r"([^|\r\n]*):\s+\d+%\|", shown)}
    assert "run" in bars
    assert not bars & {"steps", "ce", "dlr"}, "attacks run in the processes"
    *_, after = shown.split("\x1b[A")
    assert "natural has nothing to be compared with" in after
    assert [line.partition(":")[0] for line in after.split("\r\n") if line][-3:] == ["flags", "failed", "next"]
