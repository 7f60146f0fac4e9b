"""What is known of an installed plug-in without importing it: what its class is about, or that it cannot load."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Glance:
    """A look at the file of a class.

    Attributes:
        summary: first line of the class's docstring; empty where the file does not define it.
        problem: why importing it must fail; empty where that is not certain.
    """

    summary: str = ""
    problem: str = ""


def glance(target: str) -> Glance:
    """Look for the file of ``module:class`` and read it; imports neither it nor the packages around it."""
    module, _, name = target.partition(":")
    try:
        spec = _find(module)
    except ModuleNotFoundError as error:
        return Glance(problem=str(error))
    except Exception:  # a finder of somebody else's: nothing is certain
        return Glance()
    if spec.origin is None or not spec.origin.endswith(".py"):
        return Glance()
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except SyntaxError as error:
        return Glance(problem=f"{spec.origin} line {error.lineno}: {error.msg}")
    except (OSError, ValueError, RecursionError):
        return Glance()
    found = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return Glance(summary=next(((ast.get_docstring(node) or "").partition("\n")[0] for node in found), ""))


def _find(module: str) -> ModuleSpec:
    """Where a module would be imported from, found without importing its packages, as ``find_spec`` would."""
    name, path = "", None
    spec: ModuleSpec | None = None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = _ask_finders(name, path)
        if spec is None:
            raise ModuleNotFoundError(f"there is no module {name!r}")
        path = spec.submodule_search_locations
    assert spec is not None
    return spec


def _ask_finders(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    found = (finder.find_spec(name, path, None) for finder in sys.meta_path)
    return next((spec for spec in found if spec is not None), None)
