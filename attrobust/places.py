"""Finds the folders of attrobust, which lie side by side in a clone and inside one package where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path

CORE = Path(__file__).resolve().parent
"""The folder of this package."""
ROOMS = ("methods", "explainers", "attacks", "metrics", "benchmark")
"""The packages ``attrobust.<room>``, whose folders lie at the top of the repository."""


def refuse_bare_name(name: str) -> None:
    """Raise ImportError, with what to do, where a room is imported without ``attrobust.`` before its name."""
    if name in ROOMS:
        raise ImportError(f"import attrobust.{name}, not {name}; {if_ones_own(name)}", name=name)


def if_ones_own(name: str) -> str:
    """What to do where a package of one's own was meant, and a clone of attrobust comes first on ``sys.path``."""
    instead = "pip install attrobust in place of its clone on PYTHONPATH or as the current folder"
    return f"if a {name} of your own is meant, give its folder an __init__.py, or {instead}"


@functools.cache
def room(name: str) -> Path:
    """The folder of a room, or of the core for ``"attrobust"``."""
    if name == CORE.name:
        return CORE
    spec = importlib.util.find_spec(f"attrobust.{name}")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).resolve().parent


def location(place: str) -> Path:
    """The file or folder that ``place`` names as in a clone, e.g. ``benchmark/data`` or ``attrobust``."""
    name, _, rest = place.partition("/")
    return room(name) / rest


def ours(cls: type) -> bool:
    """Whether a class comes with attrobust; False for one of a plug-in."""
    return _ours(cls)


@functools.cache
def _ours(cls: type) -> bool:
    try:
        file = Path(inspect.getfile(cls)).resolve()
    except (OSError, TypeError):  # typed at a prompt
        return False
    return any(file.is_relative_to(room(name)) for name in (CORE.name, *ROOMS))


def sources(place: str) -> Iterator[tuple[str, Path]]:
    """Names and paths of the Python files of a place, sorted by name; names are as in a clone: ``methods/aga.py``."""
    path = location(place)
    if path.is_file():
        yield place, path
        return
    for file in sorted(path.rglob("*.py")):
        parts = file.relative_to(path).parts
        if place != CORE.name or parts[0] not in ROOMS:
            yield "/".join((place, *parts)), file
