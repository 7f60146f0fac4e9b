"""Whatever a plug-in raises, wherever it is called: a failed number or one line, never exit code 0 without a table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import attrobust

from helpers.runs import run

Capture = pytest.CaptureFixture[str]

PLUGINS = """
import asyncio, sys
from dataclasses import dataclass
from typing import ClassVar

import torch
from attrobust import *
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.models.lenet import LeNet


class Leave(BaseException):
    pass


class Mute(UsageError):
    def __str__(self):
        raise OSError("no words")


def leave(kind):
    if kind == "exit":
        sys.exit(0)
    if kind == "mute":
        raise Mute()
    raise {"own": Leave("gone"), "cancelled": asyncio.CancelledError(), "pipe": BrokenPipeError("gone")}[kind]


@dataclass(frozen=True, kw_only=True)
class Settings:
    where: str = ""
    kind: str = "exit"

    def __post_init__(self):
        if self.where == "settings":
            leave(self.kind)

    def work(self, count):
        if self.where == "work" or self.where == "run" and count == 3:
            leave(self.kind)


@register_method("leaving")
@dataclass(frozen=True, kw_only=True)
class LeavingMethod(Settings, Method):
    def loss(self, model, x, y, generator):
        self.work(3 if len(x) == 64 else 0)
        return torch.nn.functional.cross_entropy(model(x), y)


@register_explainer("leaving")
@dataclass(frozen=True, kw_only=True)
class LeavingExplainer(Settings, Explainer):
    def attribute(self, model, x, target, *, create_graph, generator):
        self.work(len(x))
        x = x if create_graph else x.detach().requires_grad_()
        logits = model(x).gather(1, target[:, None])
        return torch.autograd.grad(logits.sum(), x, create_graph=create_graph)[0]


@register_attack("leaving")
@dataclass(frozen=True, kw_only=True)
class LeavingAttack(Settings, Attack):
    def run(self, context, x, y):
        self.work(len(x))
        return context.threat.project(x, x + context.threat.eps * context.streams("a").uniform(x).sign())


@register_metric("leaving")
@dataclass(frozen=True, kw_only=True)
class LeavingMetric(Settings, Similarity):
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compare(self, a, b):
        self.work(len(a))
        return torch.minimum(a.abs(), b.abs()).sum(dim=1) / torch.maximum(a.abs(), b.abs()).sum(dim=1)


@register_dataset("leaving")
@dataclass(frozen=True, kw_only=True)
class LeavingDataset(Settings, Dataset):
    def load(self, root):
        self.work(0)
        return Digits().load(root)


@register_model("leaving")
@dataclass(frozen=True, kw_only=True)
class LeavingModel(LeNet):
    where: str = ""
    kind: str = "exit"

    def __post_init__(self):
        if self.where == "settings":
            leave(self.kind)

    def network(self, facts):
        leave(self.kind)
"""
ODD = """class LeavingMetric(Settings, Similarity):
    @property
    def without_effect(self):
        sys.exit(0)
"""
RUN = ["--methods", "natural", "--images", "3", "--explainers", "saliency", "--attacks", "noise:draws=1"]
RUN += ["--metrics", "cosine", "--baselines", "none", "--accuracy-attack", "none", "--no-audit", "--export", "csv"]
RUN += ["--epochs", "1", "--recipe", "digits"]
PLACES = [(axis, "settings") for axis in ("methods", "explainers", "attacks", "metrics", "dataset", "model")]
PLACES += [(axis, "work") for axis in ("methods", "explainers", "attacks", "metrics", "dataset", "model")]
PLACES += [("explainers", "run"), ("attacks", "run"), ("metrics", "run"), ("methods", "run")]
KINDS = {
    "mute": "Mute",
    "exit": "SystemExit: 0",
    "own": "Leave: gone",
    "cancelled": "CancelledError",
    "pipe": "BrokenPipeError: gone",
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "leaving.py"
    path.write_text(PLUGINS)
    return path


def ended(words: list[str | Path], plugin: Path, out: Path, capsys: Capture) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a short run with other options."""
    given = {word for word in words if str(word).startswith("--")}
    usual = [part for at in range(0, len(RUN), 2) if RUN[at] not in given for part in RUN[at : at + 2]]
    return run([*usual, *words, "--plugin", plugin, "--out", out], capsys)


@pytest.mark.parametrize(("axis", "where"), PLACES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_what_ends_processes_ends_no_run_without_a_word(
    axis: str, where: str, kind: str, plugin: Path, tmp_path: Path, capsys: Capture, request: pytest.FixtureRequest
) -> None:
    briefly = {("dataset", "work"), *([("explainers", "run")] if kind == "mute" else [])}
    if kind != "exit" and (axis, where) not in briefly and not request.config.getoption("--long"):
        pytest.skip("with --long: every kind in every place")
    words: list[str | Path] = [f"--{axis}", f"leaving:where={where},kind={kind}"]
    if axis in ("methods", "model"):
        words += [] if axis == "model" else ["--model", "lenet:width=4,hidden=8"]
    if axis == "model":
        words[1] = f"leaving:where={where},kind={kind},width=4,hidden=8"
    code, out, err = ended(words, plugin, tmp_path / "run", capsys)
    assert KINDS[kind] in err, err
    assert "Traceback" not in err
    if where == "run":
        assert code == 1, err
        assert (tmp_path / "run" / "leaderboard.csv").is_file()
    else:
        assert code == 2, err
        assert len(err.strip().splitlines()) == 1
        assert not out


def test_an_exception_that_nothing_takes_in_is_one_line_where_a_plug_in_raises_it(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Such as that of a property of a class, which is asked for everywhere."""
    odd = tmp_path / "odd.py"
    odd.write_text(PLUGINS.replace("class LeavingMetric(Settings, Similarity):", ODD))
    code, out, err = ended(["--metrics", "leaving:kind=own"], odd, tmp_path / "run", capsys)
    assert code == 2, err
    assert err.startswith(f"error: {odd} line ")
    assert err.endswith("SystemExit: 0\n")
    assert not out


def test_a_signal_is_no_mistake_of_a_plug_in(plugin: Path, tmp_path: Path, capsys: Capture) -> None:
    interrupting = tmp_path / "interrupting.py"
    assert PLUGINS.count("sys.exit(0)") == 1
    interrupting.write_text(PLUGINS.replace("sys.exit(0)", "raise KeyboardInterrupt"))
    code, out, err = ended(["--explainers", "leaving:where=run"], interrupting, tmp_path / "run", capsys)
    assert code == 130
    assert not out
    assert err.strip().splitlines()[-1] == "interrupted; the same command goes on where it stopped"


def test_what_ends_generators_is_a_line_like_any_mistake(tmp_path: Path, capsys: Capture) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("raise GeneratorExit\n")
    code, _, err = run(["--plugin", mine, "--dry-run"], capsys)
    assert (code, err) == (2, f"error: {mine} line 1: GeneratorExit: \n")


def test_a_plug_in_that_says_ctrl_c_is_a_line_where_signals_say_something_else(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("raise KeyboardInterrupt\n")
    words = [sys.executable, Path(attrobust.__file__).parents[1] / "run_benchmark.py", "--plugin", mine, "--dry-run"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"error: {mine} line 1: KeyboardInterrupt: \n")
