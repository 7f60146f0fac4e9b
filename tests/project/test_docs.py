"""What the documents show is what happens."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attrobust.benchmark.command.main import main

from helpers.runs import FAST, run

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
SHORT = [*FAST, "--epochs", "1"]


def blocks(name: str, language: str = "") -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / name).read_text(), flags=re.S | re.M)
    return [text for kind, text in fenced if kind == language]


def files() -> dict[str, str]:
    """The files that CONTRIBUTING.md shows: a block belongs to the name said last before it."""
    found = re.findall(r"`([\w./-]+\.\w+)`[^`\n]*:\n\n```\w+\n(.*?)^```", CONTRIBUTING, flags=re.S | re.M)
    assert len(found) == len(dict(found)) == 6
    return dict(found)


def answer(words: list[str], folder: Path = ROOT, **variables: str) -> str:
    """What a Python command prints in a process of its own; it must succeed."""
    env = {**os.environ, **variables}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_method_in_a_file_runs_as_contributing_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(files()["mine.py"])
    (line,) = (line for line in CONTRIBUTING.splitlines() if "--plugin mine.py --methods" in line)
    monkeypatch.chdir(tmp_path)
    code, out, err = run([*shlex.split(line)[2:], *SHORT, "--out", "run"], capsys)
    assert code == 0, err
    assert "smoothed:amount=0.2  " in out


def test_a_method_in_an_installed_package_runs_as_contributing_says(tmp_path: Path) -> None:
    project, site = tmp_path / "attrobust-smoothed", tmp_path / "site"
    project.mkdir()
    shown = files()
    for name in ("pyproject.toml", "setup.cfg"):
        (project / name).write_text(shown[name])
    (project / "attrobust_smoothed.py").write_text(shown["mine.py"])
    (tree,) = (block for block in blocks("CONTRIBUTING.md") if block.startswith("attrobust-smoothed/\n"))
    assert {line.strip() for line in tree.splitlines()[1:]} == {path.name for path in project.iterdir()}
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    answer(["-m", "pip", "install", "-q", *options, "--target", str(site), str(project)])
    command = str(ROOT / "run_benchmark.py")
    listed = answer([command, "--list", "methods"], PYTHONPATH=str(site))
    (line,) = (line for line in listed.splitlines() if "smoothed" in line)
    about = "Cross-entropy with smoothed labels."
    assert line.split(maxsplit=1) == [
        "smoothed",
        f"{about} (plug-in attrobust_smoothed:Smoothed of distribution attrobust-smoothed)",
    ]
    (line,) = (line for line in CONTRIBUTING.splitlines() if line.startswith("attrobust --methods"))
    words = [*shlex.split(line)[1:], *SHORT, "--out", str(tmp_path / "run")]
    assert "smoothed:amount=0.2  " in answer([command, *words], PYTHONPATH=str(site))


def test_a_method_in_a_pull_request_is_known_and_tested_as_contributing_says(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "results")
    shutil.copytree(ROOT, tmp_path / "fork", ignore=ignore, symlinks=True)
    fork, shown = tmp_path / "fork", files()
    (fork / "methods" / "smoothed.py").write_text(shown["methods/smoothed.py"])
    recipe = fork / "benchmark" / "training" / "recipes" / "digits.toml"
    recipe.write_text(recipe.read_text() + "\n" + shown["benchmark/training/recipes/digits.toml"])
    listed = answer(["run_benchmark.py", "--list", "methods"], fork)
    assert re.search("^  smoothed +Cross-entropy against labels of which a share", listed, flags=re.M)
    (line,) = (line for line in CONTRIBUTING.splitlines() if line.startswith("pytest tests/test_methods.py"))
    answer(["-m", *shlex.split(line)], fork)
    assert "smoothed " in answer(["run_benchmark.py", "--methods", "smoothed", "--dry-run"], fork)


def test_the_example_explainer_of_contributing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sign.py").write_text(files()["sign.py"].replace('"gradient-sign"', '"sign-doc"'))
    words = ["--plugin", tmp_path / "sign.py", "--methods", "aga,natural", "--explainers", "sign-doc:sharpness=5"]
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
    from attrobust import attacks, explainers, methods, metrics
    from attrobust.benchmark import data, models

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


def test_the_cost_of_every_method_in_the_readme_is_what_it_says_itself() -> None:
    from attrobust.methods import registry

    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]
    for name in registry.names():
        (row,) = (line for line in rows if f"`{name}`" in line.split("|")[1] and len(line.split("|")) == 6)
        names = re.findall(r"`([^`]+)`", row.split("|")[1])
        costs = row.split("|")[4].split(",")
        assert costs[names.index(name)].strip() == str(registry.get(name)().cost(classes=10))


def test_the_readmes_python_runs() -> None:
    for block in blocks("README.md", "python"):
        exec(block, {})


def test_ci_calls_the_readmes_own_test_command() -> None:
    (command,) = (block.strip() for block in blocks("README.md") if block.strip().endswith("pytest"))
    assert (ROOT / ".ci" / "run").read_text().strip().endswith(command)
