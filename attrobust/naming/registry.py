"""Registry of names and classes; names are read from the sources, and a module is imported only when it is used.

A class is registered by the decorator of its room, ``@register("aga")``. The names are found by parsing the room's
files, so a new file is listed without being imported and without a table to edit. Installed packages add names through
the entry-point group ``attrobust.<room>``; a plug-in file adds them by running the same decorator.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from attrobust.naming.installed import glance
from attrobust.naming.moved import moved_for
from attrobust.naming.suggest import did_you_mean
from attrobust.places import ours
from attrobust.types import UsageError

T = TypeVar("T")
C = TypeVar("C", bound=type)
NAME = r"[a-z0-9][a-z0-9._-]*"


@dataclass
class Entry(Generic[T]):
    """One registered name.

    Attributes:
        name, summary: as ``--list`` prints them.
        target: ``module:class``, the same however the class comes to be registered.
        origin: who registered it, as error messages say it.
        load: imports the class.
        loaded: the class, once it is imported.
    """

    name: str
    summary: str
    target: str
    origin: str
    load: Callable[[], type[T]]
    loaded: type[T] | None = field(default=None)


class Registry(Generic[T]):
    """The registered names of one axis (methods, explainers, attacks or metrics).

    Args:
        kind: what an entry is, singular, as error messages say it: ``"method"``.
        package: the room whose files hold the entries: ``"methods"``.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._group = f"attrobust.{kind}s"
        self._entries: dict[str, Entry[T]] | None = None
        self._left_out: list[str] = []

    def register(self, name: str) -> Callable[[C], C]:
        """Decorator that enters a class under ``name``; raises UsageError where another class holds the name."""

        if not re.fullmatch(NAME, name):
            raise UsageError(f"{self.kind} name {name!r} must be lower-case letters, digits, '-', '_' or '.'")

        def enter(cls: C) -> C:
            entries = self._found()
            target = f"{cls.__module__}:{cls.__qualname__}"
            known = entries.get(name)
            if known is not None and known.target != target:
                raise UsageError(f"{self.kind} {name!r} of {_file_of(cls)} is already registered by {known.origin}")
            summary = (inspect.getdoc(cls) or "").partition("\n")[0]
            origin = known.origin if known is not None else _file_of(cls)
            entries[name] = Entry(name, summary, target, origin, lambda: cls, cls)
            return cls

        return enter

    def names(self) -> list[str]:
        """All known names, in alphabetical order; imports none of them."""
        return sorted(self._found())

    def entries(self) -> list[Entry[T]]:
        """All entries in the order of their names."""
        return [self._found()[name] for name in self.names()]

    def origin(self, name: str) -> str:
        """Who registered a known name."""
        return self._found()[name].origin

    def left_out(self) -> list[str]:
        """One line for every installed plug-in that cannot be offered, and why; imports none of them."""
        self._found()
        return [*self._left_out]

    def forget(self, module: str) -> None:
        """Remove the names that a module has registered."""
        entries = self._found()
        for name in [name for name, entry in entries.items() if entry.target.partition(":")[0] == module]:
            del entries[name]

    def check(self, name: str) -> None:
        """Raise UsageError with a suggestion and the known names unless ``name`` is registered. Imports nothing."""
        if name in self._found():
            return
        hint = did_you_mean(name, self.names())
        raise UsageError(f"unknown {self.kind} {name!r}.{hint} Known: {', '.join(self.names())}")

    def get(self, name: str) -> type[T]:
        """The class registered under ``name``; imports its module on first use, and puts back what that sets.

        Raises:
            UsageError: unknown name, or a plug-in that does not load (named in the message).
        """
        self.check(name)
        entry = self._found()[name]
        if entry.loaded is None:
            from attrobust.process import seeded

            try:
                with seeded(0):
                    loaded = entry.load()
            except Exception as error:
                problem = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
                problem = moved_for(error) or problem
                line = " ".join(problem.split()) or type(error).__name__
                raise UsageError(f"{self.kind} {name!r} of {entry.origin} does not load: {line}") from error
            self._found()[name].loaded = loaded
            return loaded
        return entry.loaded

    def loaded(self) -> list[type[T]]:
        """The classes of people that have been imported."""
        classes = (entry.loaded for entry in self._found().values())
        return [cls for cls in classes if cls is not None and not ours(cls)]

    def _found(self) -> dict[str, Entry[T]]:
        if self._entries is None:
            self._entries = {entry.name: entry for entry in self._built_in()}
            for point in self._points():
                entry = self._installed(point)
                known = self._entries.setdefault(entry.name, entry)
                what = f"{self.kind} {entry.name!r} of {entry.origin} is left out"
                if known.target != entry.target:
                    self._left_out.append(f"{what}: the name is already registered by {known.origin}")
                elif not re.fullmatch(NAME, entry.name):
                    del self._entries[entry.name]
                    self._left_out.append(f"{what}: names are lower-case letters, digits, '-', '_' or '.'")
        return self._entries

    def _points(self) -> list[EntryPoint]:
        """The entry points of our group; where one distribution's cannot be read, those of all others."""
        try:
            return list(entry_points(group=self._group))
        except Exception:
            found: list[EntryPoint] = []
        for distribution in distributions():
            try:
                found += distribution.entry_points.select(group=self._group)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                self._left_out.append(f"entry points of {_name_of(distribution)} cannot be read: {problem}")
        return found

    def _installed(self, point: EntryPoint) -> Entry[T]:
        target = point.value.replace(" ", "")
        origin = _name_of(point.dist) if point.dist is not None else point.value
        seen = glance(target)
        where = f"plug-in {target} of {origin}"
        summary = f"{seen.summary} ({where})" if seen.summary else where
        if seen.problem:
            summary = f"{where}, does not load: {seen.problem}"
        return Entry(point.name, summary, target, origin, point.load)

    def _built_in(self) -> Iterator[Entry[T]]:
        spec = importlib.util.find_spec(self._package)
        assert spec is not None and spec.submodule_search_locations is not None
        for folder in map(Path, spec.submodule_search_locations):
            for path in sorted(folder.rglob("*.py")):
                source = path.read_text(encoding="utf-8")
                if "@register(" not in source:
                    continue
                module = ".".join((self._package, *path.relative_to(folder).with_suffix("").parts))
                for name, cls in _registered_classes(ast.parse(source)):
                    summary = (ast.get_docstring(cls) or "").partition("\n")[0]
                    target = f"{module}:{cls.name}"
                    yield Entry(name, summary, target, target, self._importer(module, cls.name))

    def _importer(self, module: str, attribute: str) -> Callable[[], type[T]]:
        def load() -> type[T]:
            cls: type[T] = getattr(importlib.import_module(module), attribute)
            return cls

        return load


def _registered_classes(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef]]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(func=ast.Name(id="register"), args=[ast.Constant(value=str(name))]):
                    yield name, node


def _name_of(distribution: Distribution) -> str:
    try:
        return f"distribution {distribution.name}"
    except Exception:  # without metadata
        return "a distribution without a name"


def _file_of(cls: type) -> str:
    try:
        return inspect.getfile(cls)
    except (OSError, TypeError):
        return cls.__module__
