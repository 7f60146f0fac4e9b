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

import attrobust
from attrobust import attacks, explainers, methods, metrics
from attrobust.benchmark import data, models
from attrobust.benchmark.command.main import main

from helpers.runs import FAST, run
from helpers.sources import shown_files

ROOT = Path(__file__).parents[2]
SHORT = [*FAST, "--epochs", "1"]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
SHOWN = {
    "README.md": {"mine.py"},
    "CONTRIBUTING.md": {
        *("methods/smoothed.py", "explainers/noisy_gradient.py", "attacks/corners.py"),
        *("metrics/similarity/ruzicka.py", "benchmark/data/parity.py", "benchmark/models/allconv.py"),
        "benchmark/training/recipes/digits.toml",
    },
    "docs/plug-ins.md": {"mine.py", "pyproject.toml", "setup.cfg", "sign.py", "tiny.py"},
}
"""The files that pages show."""


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str = "") -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text_of(page), flags=re.S | re.M)
    return [text for kind, text in fenced if kind == language]


def lines_of(page: str) -> list[str]:
    """The lines of the fenced blocks without a language, which are commands."""
    return [line for block in blocks(page) for line in block.splitlines()]


def files(page: str) -> dict[str, str]:
    found = shown_files(page)
    assert found.keys() == SHOWN[page]
    return found


def answer(words: list[str], folder: Path = ROOT, **variables: str) -> str:
    """What a Python command prints in a process of its own; it must succeed."""
    env = {**os.environ, **variables}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/plug-ins.md"])
def test_a_method_in_a_file_runs_as_the_page_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(files(page)["mine.py"])
    (line,) = (line for line in lines_of(page) if "run_benchmark.py --plugin mine.py --methods" in line)
    words = shlex.split(line)
    monkeypatch.chdir(tmp_path)
    code, out, err = run([*words[words.index("--plugin") :], *SHORT, "--out", "run"], capsys)
    assert code == 0, err
    assert "smoothed:amount=0.2  " in out


def test_a_method_in_an_installed_package_runs_as_the_manual_says(tmp_path: Path) -> None:
    project, site = tmp_path / "attrobust-smoothed", tmp_path / "site"
    project.mkdir()
    shown = files("docs/plug-ins.md")
    for name in ("pyproject.toml", "setup.cfg"):
        (project / name).write_text(shown[name])
    (project / "attrobust_smoothed.py").write_text(shown["mine.py"])
    (tree,) = (block for block in blocks("docs/plug-ins.md") if block.startswith("attrobust-smoothed/\n"))
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
    (line,) = (line for line in lines_of("docs/plug-ins.md") if line.startswith("attrobust --methods"))
    words = [*shlex.split(line)[1:], *SHORT, "--out", str(tmp_path / "run")]
    assert "smoothed:amount=0.2  " in answer([command, *words], PYTHONPATH=str(site))


def test_a_method_in_a_pull_request_is_known_and_tested_as_contributing_says(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "_build", "results")
    shutil.copytree(ROOT, tmp_path / "fork", ignore=ignore, symlinks=True)
    fork, shown = tmp_path / "fork", files("CONTRIBUTING.md")
    (fork / "methods" / "smoothed.py").write_text(shown["methods/smoothed.py"])
    recipe = "benchmark/training/recipes/digits.toml"
    (fork / recipe).write_text((fork / recipe).read_text() + "\n" + shown[recipe])
    listed = answer(["run_benchmark.py", "--list", "methods"], fork)
    assert re.search("^  smoothed +Cross-entropy against labels of which a share", listed, flags=re.M)
    (line,) = (line for line in lines_of("CONTRIBUTING.md") if line.startswith("pytest tests/methods/test_methods.py"))
    answer(["-m", *shlex.split(line), "-n", "0"], fork)
    assert "smoothed " in answer(["run_benchmark.py", "--methods", "smoothed", *FAST, "--dry-run"], fork)


def test_the_example_explainer_of_the_manual_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = files("docs/plug-ins.md")["sign.py"]
    (tmp_path / "sign.py").write_text(shown.replace('"gradient-sign"', '"sign-doc"'))
    words = ["--plugin", tmp_path / "sign.py", "--methods", "aga,natural", "--explainers", "sign-doc:slope=5"]
    code, out, err = run([*FAST, *words, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    assert "sign-doc:slope=5" in out


def test_the_model_of_the_manual_passes_its_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.py").write_text(files("docs/plug-ins.md")["tiny.py"])
    code, out, err = run(["check", tmp_path / "tiny.py"], capsys)
    assert (code, err) == (0, ""), out


def test_every_command_of_the_documents_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("attrobust.benchmark.run.runner.Runner.estimate", lambda *_: None)
    lines = list(dict.fromkeys(line for page in PAGES for line in lines_of(page)))
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("run_benchmark.py ")]
    assert len(commands) >= 28
    for words in commands:
        if words[0] in ("report", "figures", "gallery", "verify", "submit", "clean", "check") or {
            "--plugin",
            "--data-root",
            "--checkpoint",
            "standard",
        } & set(words):
            # Needs files or a download: what matters here is that the options exist.
            capsys.readouterr()
            assert main([*words, "--no-such-option"]) == 2
            assert capsys.readouterr().err.startswith("error: unrecognized arguments: --no-such-option")
        else:
            code, _, err = run([*words, "--dry-run", "--out", tmp_path / "run"], capsys)
            assert code == 0, (words, err)


def test_the_manual_names_everything_registered() -> None:
    for page, registry in (
        ("methods", methods.registry),
        ("explainers", explainers.registry),
        ("attacks", attacks.registry),
        ("metrics", metrics.registry),
        ("data-and-models", data.registry),
        ("data-and-models", models.registry),
    ):
        text = text_of(f"docs/{page}.md")
        assert [name for name in registry.names() if f"`{name}`" not in text] == []


def test_the_readme_counts_what_is_registered() -> None:
    for page, registry in (("methods", methods.registry), ("metrics", metrics.registry)):
        (count,) = re.findall(rf"\[{page}\]\(docs/{page}\.md\) \| (\d+)", text_of("README.md"))
        assert int(count) == len(registry.names())


def test_the_reference_names_every_public_name() -> None:
    pages = text_of("docs/reference/functions.md") + text_of("docs/reference/contracts.md")
    assert sorted(re.findall(r"::\s+attrobust\.(\w+)$", pages, flags=re.M)) == sorted(attrobust.__all__)


def test_the_cost_of_every_method_in_the_manual_is_what_it_says_itself() -> None:
    rows = [line for line in text_of("docs/methods.md").splitlines() if line.startswith("| `")]
    for name in methods.registry.names():
        (row,) = (line for line in rows if f"`{name}`" in line.split("|")[1] and len(line.split("|")) == 6)
        names = re.findall(r"`([^`]+)`", row.split("|")[1])
        costs = row.split("|")[4].split(",")
        assert costs[names.index(name)].strip() == str(methods.registry.get(name)().cost(classes=10))


def test_the_python_of_the_documents_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    columns = ["--explainers", "saliency", "--attacks", "topk:steps=30", "--metrics", "topk:k=10%,spearman"]
    short = ["--images", "4", "--no-audit", "--accuracy-attack", "none", "--baselines", "none", "--workers", "1"]
    assert main(["--methods", "aga,hessian", *columns, *short]) == 0
    shown = dict.fromkeys(block for page in PAGES for block in blocks(page, "python"))
    whole_files = {text for page in SHOWN for text in files(page).values()}
    snippets = [block for block in shown if block not in whole_files]
    assert len(snippets) >= 2
    for block in snippets:
        exec(block, {})


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)):
            assert ((ROOT / page).parent / target).exists(), (page, target)


def test_the_citation_has_the_version_of_the_package() -> None:
    assert re.findall(r"^version: (.+)$", text_of("CITATION.cff"), flags=re.M) == [attrobust.__version__]


def test_ci_calls_the_readmes_own_test_command() -> None:
    (command,) = (block.strip() for block in blocks("README.md") if block.strip().endswith("pytest"))
    assert (ROOT / ".ci" / "run").read_text().strip().endswith(command)
