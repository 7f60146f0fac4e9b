"""attrobust beside a user's own metrics/, methods/, attacks.py and benchmark.py: each finds its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.runs import COARSE, FAST, ROOT
from helpers.sources import blocks, copy_sources

OWN = ("metrics", "methods", "attacks", "benchmark")
CHECK = """
import metrics.own, methods.own, attacks, benchmark

assert [attacks.WHOSE, benchmark.WHOSE, metrics.own.WHOSE, methods.own.WHOSE] == ["the user's"] * 4
"""
PLUGIN = f'''"""A method and a metric of the user's, which use what else is in the folder."""

from dataclasses import dataclass
from typing import ClassVar

from torch.nn.functional import cross_entropy

from attrobust import Method, Similarity, register_method, register_metric
{CHECK}

@register_method("smoothed")
@dataclass(frozen=True, kw_only=True)
class Smoothed(Method):
    def loss(self, model, x, y, generator):
        return cross_entropy(model(x), y, label_smoothing=0.1)


@register_metric("nearness")
@dataclass(frozen=True, kw_only=True)
class Nearness(Similarity):
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compare(self, a, b):
        return (a - b).abs().mean(dim=1).neg().exp()
'''


@dataclass(frozen=True)
class Folder:
    """The user's folder; ``packages`` says whether its metrics/ and methods/ have an ``__init__.py``."""

    path: Path
    packages: bool

    def python(self, *words: str | Path, path: list[Path]) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of Python, run here with a PYTHONPATH."""
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
        line = [sys.executable, *map(str, words)]
        done = subprocess.run(line, cwd=self.path, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=[True, False], ids=["packages", "no __init__.py"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    for name in ("metrics", "methods"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.py").write_text('WHOSE = "the user\'s"\n')
        if request.param:
            (tmp_path / name / "__init__.py").touch()
    for name in ("attacks", "benchmark"):
        (tmp_path / f"{name}.py").write_text('WHOSE = "the user\'s"\n')
    (tmp_path / "mine.py").write_text(PLUGIN)
    examples, place = blocks("README.md", "python"), "import attrobust\nprint(attrobust.__file__)\n"
    assert examples
    (tmp_path / "script.py").write_text("\n".join([CHECK, *examples, place]))
    return Folder(tmp_path, request.param)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """attrobust as pip installs it, with the console script in ``bin``."""
    source, site = copy_sources(tmp_path_factory.mktemp("clone")), tmp_path_factory.mktemp("site")
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", site, source], check=True)
    shutil.rmtree(source)
    return site


LIST = ["--plugin", "mine.py", "--list", "metrics"]


def test_where_attrobust_is_installed_scripts_and_plugins_find_their_own(folder: Folder, site: Path) -> None:
    command, path = site / "bin" / "attrobust", [folder.path, site]
    if folder.packages:
        words = [
            "--plugin",
            "mine.py",
            "--methods",
            "smoothed",
            *COARSE,
            *FAST,
            "--metrics",
            "nearness",
            "--epochs",
            "1",
        ]
        code, out, err = folder.python(command, *words, "--out", "run", path=path)
        assert code == 0, err
        assert "Nearness" in out
        assert (folder.path / "run" / "leaderboard.csv").is_file()
    else:
        code, out, err = folder.python(command, *LIST, path=path)
        assert (code, err) == (0, "")
        assert "\n  nearness " in out
        code, out, err = folder.python("script.py", path=[site])
        assert code == 0, err
        assert out.splitlines()[-1] == str(site / "attrobust" / "__init__.py")


def test_a_bare_clone_runs_a_plugin_that_finds_its_own_modules_on_the_path(folder: Folder) -> None:
    code, out, err = folder.python(ROOT / "run_benchmark.py", *LIST, path=[folder.path])
    assert (code, err) == (0, "")
    assert "\n  nearness " in out


def test_with_the_clone_on_the_path_packages_are_found_and_a_folder_that_is_none_is_told_what_to_do(
    folder: Folder,
) -> None:
    if folder.packages:
        code, out, err = folder.python("-m", "attrobust", *LIST, path=[ROOT])
        assert (code, err) == (0, "")
        code, out, err = folder.python("script.py", path=[ROOT])
        assert code == 0, err
        assert out.splitlines()[-1] == str(ROOT / "attrobust" / "__init__.py")
    else:
        words = ["--plugin", "mine.py", "--methods", "natural"]
        code, out, err = folder.python("-m", "attrobust", *words, path=[ROOT])
        assert (code, out) == (2, "")
        what = "if a metrics of your own is meant, give its folder an __init__.py, or pip install attrobust"
        assert err.startswith("error: --plugin mine.py line 10: metrics is now attrobust.metrics, which has no own; ")
        assert what in err
        assert err.count("\n") == 1
        code, out, err = folder.python("script.py", path=[ROOT])
        assert code == 1
        assert err.splitlines()[-1].startswith(f"ImportError: import attrobust.metrics, not metrics; {what}")
