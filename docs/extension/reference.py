"""Directives of the reference: ``registered``, everything on one axis by name, and ``packages``, what lies where."""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import attrobust

ROOMS = {
    "methods": "attrobust.methods",
    "explainers": "attrobust.explainers",
    "attacks": "attrobust.attacks",
    "metrics": "attrobust.metrics",
    "datasets": "attrobust.benchmark.data",
    "models": "attrobust.benchmark.models",
}


class Registered(SphinxDirective):
    """``.. registered:: methods`` documents the class of every registered name, with its settings."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """The classes in the order of their names."""
        registry = import_module(ROOMS[self.arguments[0]]).registry
        lines = []
        for name in registry.names():
            item = registry.get(name)
            lines += [f".. rubric:: {name}", "", f".. autoclass:: {item.__module__}.{item.__qualname__}", ""]
        return self.parse_text_to_nodes("\n".join(lines))


class Packages(SphinxDirective):
    """``.. packages::`` lists the packages with what their docstrings say."""

    def run(self) -> list[nodes.Node]:
        """A definition list in the order of the names."""
        names = [found.name for found in walk_packages(attrobust.__path__, "attrobust.") if found.ispkg]
        lines = []
        for name in names:
            summary, *_ = (import_module(name).__doc__ or "").strip().split("\n\n")
            lines += [f"``{name}``", *(f"   {line.strip()}" for line in summary.splitlines()), ""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("registered", Registered)
    app.add_directive("packages", Packages)
    return {"parallel_read_safe": True}
