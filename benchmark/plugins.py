"""Plug-in files: ``--plugin mine.py`` runs a file that registers classes of its own."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from attrobust.types import UsageError


def load_plugin(path: Path) -> None:
    """Run a plug-in file once; raises UsageError naming the file, the line and the error where it does not run."""
    if not path.is_file():
        raise UsageError(f"--plugin {path}: there is no such file")
    name = f"attrobust_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--plugin {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UsageError as error:
        raise UsageError(f"--plugin {path}: {error}") from error
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" line {lines[-1]}" if lines else ""
        if isinstance(error, SyntaxError):
            where = f" line {error.lineno}"
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(f"--plugin {path}{where}: {problem}") from error
