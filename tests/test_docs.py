"""What the documents show is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from runs import FAST, run

from benchmark.cli import main

ROOT = Path(__file__).parent.parent


def blocks(name: str, language: str = "") -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / name).read_text(), flags=re.S | re.M)
    return [text for kind, text in fenced if kind == language]


def test_the_example_method_of_contributing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(blocks("CONTRIBUTING.md", "python")[0].replace('"smoothed"', '"smoothed-doc"'))
    words = ["--plugin", tmp_path / "mine.py", "--methods", "natural,smoothed-doc:amount=0.2", "--epochs", "1"]
    code, out, _ = run([*words, *FAST, "--out", tmp_path / "run"], capsys)
    assert code == 0
    assert "smoothed-doc:amount=0.2" in out


def test_the_example_explainer_of_contributing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(blocks("CONTRIBUTING.md", "python")[1].replace('"gradient-sign"', '"sign-doc"'))
    words = ["--plugin", tmp_path / "mine.py", "--methods", "aga,natural", "--explainers", "sign-doc:sharpness=5"]
    code, out, err = run([*FAST, *words, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    assert "sign-doc:sharpness=5" in out


def test_every_command_of_the_readme_is_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks("README.md") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("run_benchmark.py ")]
    assert len(commands) >= 9
    for words in commands:
        if words[0] in ("report", "verify") or {"--plugin", "--data-root", "--checkpoint", "standard"} & set(words):
            # Needs files or a download: what matters here is that the options exist.
            capsys.readouterr()
            assert main([*words, "--no-such-option"]) == 2
            assert capsys.readouterr().err.startswith("error: unrecognized arguments: --no-such-option")
        else:
            code, _, err = run([*words, "--dry-run", "--out", tmp_path / "run"], capsys)
            assert code == 0, (words, err)


def test_the_readme_names_everything_registered() -> None:
    import attacks
    import explainers
    import methods
    import metrics
    from benchmark import data, models

    text = (ROOT / "README.md").read_text()
    for registry in (
        methods.registry,
        explainers.registry,
        attacks.registry,
        metrics.registry,
        data.registry,
        models.registry,
    ):
        assert [name for name in registry.names() if f"`{name}`" not in text] == []


def test_the_readmes_python_runs() -> None:
    for block in blocks("README.md", "python"):
        exec(block, {})


def test_ci_calls_the_readmes_own_test_command() -> None:
    (command,) = (block.strip() for block in blocks("README.md") if block.strip().endswith("pytest"))
    assert (ROOT / ".ci" / "run").read_text().strip().endswith(command)
