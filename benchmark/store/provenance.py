"""Which code, versions and machine produced a number."""

from __future__ import annotations

import datetime
import functools
import hashlib
import inspect
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrobust import __version__
from attrobust.benchmark.store.rows import Provenance
from attrobust.places import CORE, ours, sources

TRAINING = (
    "attrobust",
    "methods",
    "benchmark/data",
    "benchmark/models",
    "benchmark/training/batches.py",
    "benchmark/training/loop.py",
    "benchmark/training/recipe.py",
)
"""Sources that decide a checkpoint's weights."""
EVALUATION = (*TRAINING, "explainers", "attacks", "metrics", "benchmark/evaluation")
"""Sources that decide a score; clean accuracy is computed by the training loop's own function."""
LIBRARIES = ("torch", "torchvision", "captum", "numpy", "scipy", "scikit-image")


@functools.cache
def source_digest(places: tuple[str, ...]) -> str:
    """sha256 over the Python files of rooms, folders and files in them, names included; the same wherever installed."""
    digest = hashlib.sha256()
    for place in places:
        for name, file in sources(place):
            digest.update(name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@functools.cache
def file_digest(path: Path) -> str:
    """sha256 of a file as it was when first asked for; of a plug-in, when it was loaded."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plugin_digest(cls: type) -> str:
    """sha256 of the file a class was loaded from, or the empty string for a class of this project.

    Of a class that stands for another distribution, which it says by ``package``, the version of that decides too.
    """
    package = getattr(cls, "package", "")
    stands_for = f"{package} {_version(package)}" if package else ""
    return stands_for if ours(cls) else stands_for + file_digest(Path(inspect.getfile(cls)).resolve())


def code_digest(places: tuple[str, ...], plugins: Iterable[type]) -> str:
    """One digest of our sources, of the plug-in files among ``plugins`` and of the versions of the libraries."""
    parts = [source_digest(places), *(plugin_digest(cls) for cls in plugins), str(sorted(versions().items()))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of this package and of the libraries that compute."""
    found = {"attrobust": __version__, "python": platform.python_version()}
    return found | {name: number for name in LIBRARIES if (number := _version(name))}


def _version(name: str) -> str:
    """Of an installed distribution; empty where it is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@functools.cache
def commit() -> tuple[str | None, bool | None]:
    """The git commit of our checkout and whether it had changes; None when installed elsewhere or without git."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != CORE.parent:
            return None, None
        return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def stamp(device: str, threads: int, batch_size: int) -> Provenance:
    """What is written beside every row: commit, versions, device and the time in UTC."""
    revision, dirty = commit()
    return Provenance(
        commit=revision,
        dirty=dirty,
        versions=versions(),
        device=device,
        threads=threads,
        machine=f"{platform.system()} {platform.machine()}",
        utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        batch_size=batch_size,
    )


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(CORE.parent), *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
