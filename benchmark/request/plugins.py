"""Plug-in files: ``--plugin mine.py`` runs a file that registers the user's classes."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path

from attrobust.benchmark.store.provenance import file_digest
from attrobust.naming.file_names import not_a_file, not_a_path, real
from attrobust.naming.moved import moved_for
from attrobust.types import UsageError

PREFIX = "attrobust_plugin_"
"""How the module names of plug-in files begin."""


def module_of(path: Path) -> str:
    """The module name of a plug-in file, with a hash of its path, so that files of one name are different modules."""
    return f"{PREFIX}{path.stem}_{hashlib.sha256(bytes(real(path))).hexdigest()[:8]}"


def load_plugin(path: Path, *, module: str = "", copy: Path | None = None, said: str = "--plugin") -> None:
    """Run a plug-in file; what it sets in the process is put back.

    Args:
        path: as it was named.
        module: its name, where another process has given it one.
        copy: of the file, where ``path`` is out of reach.
        said: what errors begin with, before the path.

    Raises:
        UsageError: it does not run; names the file, the line and the error.
    """
    if problem := not_a_path(str(path)):
        raise UsageError(f"{said} {problem}")
    if problem := not_a_file(copy or path):
        raise UsageError(f"{said} {path} {problem}")
    resolved, name = real(copy or path), module or module_of(path)
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise UsageError(f"{said} {path} is not a Python file; its name must end in .py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    file_digest(resolved)
    from attrobust.process import seeded

    try:
        with seeded(0):
            spec.loader.exec_module(loaded)
    except UsageError as error:
        raise UsageError(f"{said} {path}: {error}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(resolved)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f" line {line}" if line else ""
        problem = moved_for(error) or f"{type(error).__name__}: {error}"
        raise UsageError(f"{said} {path}{where}: {problem}") from error
