from __future__ import annotations

from pathlib import Path

import pytest

from helpers.boards import copied, made


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with one small board; tests must leave it as it is."""
    return made(tmp_path_factory.mktemp("published") / "results")


@pytest.fixture
def results(published: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return copied(published, tmp_path / "results")
