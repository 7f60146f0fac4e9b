"""Where a module would be imported from, found without importing it or the packages around it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec


def locate(module: str) -> ModuleSpec:
    """The spec of a module, as ``importlib.util.find_spec`` would find it.

    Raises:
        ModuleNotFoundError: there is none; finders of others may raise what they like.
    """
    package, _, _ = module.rpartition(".")
    path = locate(package).submodule_search_locations if package else None
    if package and path is None:
        raise ModuleNotFoundError(f"there is no module {module!r}: {package!r} is not a package")
    found = (finder.find_spec(module, path, None) for finder in sys.meta_path)
    spec = next((spec for spec in found if spec is not None), None)
    if spec is None:
        raise ModuleNotFoundError(f"there is no module {module!r}")
    return spec
