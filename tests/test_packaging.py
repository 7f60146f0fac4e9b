"""What is installed: the rooms, their data files, and nothing else."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import attrobust

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel built from the checked-out sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignore = shutil.ignore_patterns(
        ".git", ".venv*", "*.egg-info", "__pycache__", "build", "runs", ".*_cache", "reference"
    )
    shutil.copytree(ROOT, source, ignore=ignore)
    words = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.namelist()


def test_a_wheel_holds_the_rooms_and_nothing_else(wheel: list[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel if ".dist-info" not in name}
    assert tops == {"attrobust", "methods", "explainers", "attacks", "metrics", "benchmark", "run_benchmark.py"}


def test_every_module_and_data_file_is_in_the_wheel(wheel: list[str]) -> None:
    packages = ("attrobust", "methods", "explainers", "attacks", "metrics", "benchmark")
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix in {".py", ".toml", ".pt", ".typed"}
    }
    assert wanted - set(wheel) == set()
    assert "benchmark/checkpoints/digits/aga.pt" in wanted


def test_shipped_weights_are_small() -> None:
    sizes = [path.stat().st_size for path in (ROOT / "benchmark" / "checkpoints").rglob("*.pt")]
    assert len(sizes) >= 5
    assert max(sizes) < 1_000_000


def test_versions_agree_and_pyproject_stays_three_lines() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == attrobust.__version__
    assert config["metadata"]["name"] == "attrobust"
    assert config["options"]["python_requires"] == ">=3.11"
    assert len((ROOT / "pyproject.toml").read_text().strip().splitlines()) == 3
