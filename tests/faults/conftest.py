from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attrobust.benchmark.command.main import main
from attrobust.benchmark.report.verify import examine
from attrobust.benchmark.store.store import Store
from attrobust.sealed import sealed

from helpers.faults import WORDS, tables
from helpers.png import png16
from helpers.runs import COARSE

ALL = ["--methods", "natural", "--explainers", "saliency", "--attacks", "noise:draws=2", "--baselines", "none"]
ALL += ["--metrics", "cosine,roar:levels=50,repeats=1", "--images", "2", "--retrain", "--epochs", "1", *COARSE]
ALL += ["--export", "csv,latex,markdown,html,wide,json,bibtex"]


@pytest.fixture
def times(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """The first number, or the second with ``--long``."""
    long = bool(request.config.getoption("--long"))
    return lambda few, many: many if long else few


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*WORDS, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def whole(undisturbed: Path) -> dict[str, bytes]:
    """Its tables."""
    return tables(undisturbed)


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has a file of every kind."""
    folder = tmp_path_factory.mktemp("everything") / "run"
    assert main([*ALL, "--out", str(folder)]) == 0
    (folder / "retrainings" / "begun.resume").write_bytes(sealed(bytes(range(100))))
    (folder / "thumbnails" / "row").mkdir(parents=True)
    (folder / "thumbnails" / "row" / "0123456789abcdef-0.png").write_bytes(png16(np.zeros((2, 2, 1), np.uint16)))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros((1, 1, 2, 2), np.float32), ids=np.zeros(1, np.int64))
    (folder / "contests").mkdir()
    (folder / "contests" / f"{hashlib.sha256(buffer.getvalue()).hexdigest()}.npz").write_bytes(buffer.getvalue())
    assert examine(Store(folder)).problems == ()
    return folder


@pytest.fixture
def copied(everything: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    folder = tmp_path / "run"
    shutil.copytree(everything, folder)
    return folder
