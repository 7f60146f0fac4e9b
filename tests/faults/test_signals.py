"""A signal at any moment, the imports among them, ends a command with its exit code and one line."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults.signals import LAST, SIGNALS, TABLE, ended, start
from helpers.runs import ROOT

ENDING = ROOT / "benchmark" / "command" / "ending.py"
CODE = """
import runpy, signal, sys, time
ending = runpy.run_path(sys.argv[1])
ending["Ending"].carry_out.__globals__["AGAIN"] = 0.2


def swallow():
    try:
        signal.raise_signal(NUMBER)
    except BaseException:
        KIND


sys.exit(ending["Ending"]().carry_out(swallow))
"""


def swallowed(kind: str, number: int) -> subprocess.CompletedProcess[str]:
    """A process that is sent a signal in code that takes every exception in."""
    code = CODE.replace("NUMBER", str(int(number))).replace("KIND", kind)
    return subprocess.run([sys.executable, "-c", code, ENDING], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("number", SIGNALS)
def test_whatever_an_exception_becomes_the_signal_is_what_ended_the_command(number: signal.Signals) -> None:
    for kind in ("raise", "raise ImportError('numpy')", "sys.exit(0)", "return 1"):
        done = swallowed(kind, number)
        assert done.returncode == 128 + number, done.stderr
        assert done.stderr.endswith(f"; {LAST}\n")
        assert len(done.stderr.splitlines()) == 1


def test_a_signal_that_is_swallowed_comes_again() -> None:
    done = swallowed("time.sleep(60)", signal.SIGTERM)
    assert done.returncode == 143
    assert len(done.stderr.splitlines()) == 1


def test_a_signal_during_an_import_waits_for_its_end(tmp_path: Path) -> None:
    """As torch's does, whose extension module ends the process where a handler raises while it is loaded."""
    module = "import signal, sys\nsignal.raise_signal({})\nsys.stderr.write('imported\\n')\n{}\n"
    for rest in ("", "import time\nwhile True: time.sleep(0.01)"):
        (tmp_path / "loaded.py").write_text(module.format(int(signal.SIGTERM), rest))
        code = CODE.replace("signal.raise_signal(NUMBER)", "import loaded; time.sleep(60)").replace("KIND", "raise")
        done = subprocess.run(
            [sys.executable, "-c", code, ENDING], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
        )
        assert done.returncode == 143
        assert done.stderr.splitlines() == ["imported", f"terminated; {LAST}"]


def test_a_command_that_is_done_stays_done() -> None:
    assert swallowed("return 0", signal.SIGINT).returncode == 0


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    code = CODE.replace("KIND", "raise").replace("NUMBER", str(int(signal.SIGHUP))) + "\n"
    code = code.replace("ending = runpy", "signal.signal(signal.SIGHUP, signal.SIG_IGN); ending = runpy")
    code = code.replace("signal.raise_signal", "return signal.raise_signal")
    done = subprocess.run([sys.executable, "-c", code, ENDING], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_command_is_imported_ends_it_in_one_line(
    number: signal.Signals, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(int(number))
    for _ in range(14 if request.config.getoption("--long") else 2):
        word, err = ended(tmp_path / "run", ["--workers", "1"], number, rng.uniform(0.1, 1.0))
        assert word in ("survived", "before the first line"), err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_was_ended_again_and_again_has_the_same_table(
    workers: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("with --long: a run that is ended 42 times takes minutes")
    assert start(tmp_path / "whole", ["--workers", "1"]).wait() == 0
    rng = random.Random(0)
    for index in range(42):
        word, err = ended(tmp_path / "run", ["--workers", workers], SIGNALS[index % len(SIGNALS)], rng.uniform(1, 12))
        assert word in ("survived", "done before"), err
    assert start(tmp_path / "run", ["--workers", workers]).wait() == 0
    assert (tmp_path / "run" / TABLE).read_bytes() == (tmp_path / "whole" / TABLE).read_bytes()
