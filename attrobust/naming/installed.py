"""Reads an installed plug-in's file without importing it: its class's summary, or why it cannot be imported."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from attrobust.naming.locate import locate
from attrobust.naming.moved import moved_imports


@dataclass(frozen=True, kw_only=True)
class Glance:
    """Summary of a class, read from its file.

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
        spec = locate(module)
    except ModuleNotFoundError as error:
        return Glance(problem=str(error))
    except Exception:  # whatever a finder of another package raises
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
    summary = next(((ast.get_docstring(node) or "").partition("\n")[0] for node in found), "")
    return Glance(summary=summary, problem="; ".join(moved_imports(tree)))
