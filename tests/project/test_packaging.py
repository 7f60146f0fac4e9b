"""What is installed: the rooms, their data files, and nothing else."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from attrobust.places import ROOMS

from helpers.runs import ROOT
from helpers.sources import copy_sources

SUFFIXES = {".py", ".pyi", ".toml", ".bib", ".json", ".pt", ".typed", ".html", ".css", ".js", ".txt"}
"""Of the files that a wheel holds."""


def built(what: str, source: Path, folder: Path) -> Path:
    """A ``wheel`` or ``sdist`` of sources, built in ``folder`` by setuptools as pip does it, without a network."""
    code = f"import sys; from setuptools import build_meta as b; print(b.build_{what}(sys.argv[1]))"
    words = [sys.executable, "-W", "ignore", "-c", code, str(folder)]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checked-out sources."""
    return copy_sources(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel built from the checked-out sources."""
    with zipfile.ZipFile(built("wheel", clone, tmp_path_factory.mktemp("wheel"))) as archive:
        return archive.namelist()


def wanted() -> set[str]:
    """What a wheel must hold: the core where it is, the rooms inside it."""
    found = set()
    for package in ("attrobust", *ROOMS):
        for path in (ROOT / package).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            inside_link = (
                package == "attrobust" and len(path.relative_to(ROOT).parts) > 1 and name.split("/")[1] in ROOMS
            )
            if path.is_file() and path.suffix in SUFFIXES and not inside_link:
                found.add(name if package == "attrobust" else f"attrobust/{name}")
    return found


def test_a_wheel_holds_one_package_with_all_that_belongs_to_it_and_nothing_else(wheel: list[str]) -> None:
    held = {name for name in wheel if ".dist-info" not in name}
    assert {name.partition("/")[0] for name in held} == {"attrobust"}
    assert held == wanted()
    assert "attrobust/benchmark/checkpoints/shipped/digits/aga.pt" in held
    assert "attrobust/methods/aga.py" in held


def test_a_source_distribution_builds_the_same_wheel(clone: Path, wheel: list[str], tmp_path: Path) -> None:
    archive = built("sdist", clone, tmp_path)
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    with zipfile.ZipFile(built("wheel", source, tmp_path)) as again:
        assert set(again.namelist()) == set(wheel)
    assert (source / "run_benchmark.py").is_file()


def test_shipped_weights_are_small() -> None:
    files = [*(ROOT / "benchmark" / "checkpoints" / "shipped").rglob("*.pt")]
    sizes = {path: path.stat().st_size for path in files}
    assert len(sizes) >= 5
    # The LeNet of the AGA paper has 1.1 million weights, which are shipped in half precision.
    assert all(size < (2_500_000 if path.parent.name == "cifar10-jpeg" else 1_000_000) for path, size in sizes.items())
    assert sum(sizes.values()) < 40_000_000


def test_there_is_one_version_and_pyproject_stays_three_lines() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: attrobust.__version__"
    assert config["metadata"]["name"] == "attrobust"
    assert config["options"]["python_requires"] == ">=3.11"
    assert len((ROOT / "pyproject.toml").read_text().strip().splitlines()) == 3


def test_every_package_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = {str(Path(name).parent).replace("/", ".") for name in wanted() if name.endswith("__init__.py")}
    assert set(config["options"]["packages"].split()) == packages


def test_the_links_that_type_checkers_follow_lead_to_the_rooms() -> None:
    for room in ROOMS:
        link = ROOT / "attrobust" / room
        assert link.readlink() == Path("..", room) if link.is_symlink() else link.read_text().strip() == f"../{room}"
