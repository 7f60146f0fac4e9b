"""``leaderboard.bib``: the papers of the components of tables, each once, and which component is from which."""

from __future__ import annotations

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attrobust.benchmark.report.table import Leaderboard
from attrobust.naming.safe import line

ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?\}\}\n", re.MULTILINE | re.DOTALL)
AXES = {"methods": "method", "explainers": "explainer", "attacks": "attack", "metrics": "metric"}
HEAD = "% The papers of what is in the tables beside this file. \\nocite{*} lists all of them."


@dataclass(frozen=True)
class Component:
    """Something that tables show.

    Attributes:
        axis: ``methods``, ``explainers``, ``attacks`` or ``metrics``.
        name: registered.
    """

    axis: str
    name: str

    @property
    def words(self) -> str:
        """``method aga``."""
        return line(f"{AXES[self.axis]} {self.name}")


def render(*boards: Leaderboard) -> str:
    """The papers of leaderboards as BibTeX, in the order in which a table shows what is from them."""
    found = sorted(dict.fromkeys(component for board in boards for component in components(board)), key=_order)
    keys = {component: cited().get(component, ()) for component in found}
    without = [component.words for component in found if not keys[component]]
    used = dict.fromkeys(key for of_one in keys.values() for key in of_one)
    lines = [HEAD, *(f"% {component.words}: {', '.join(of_one)}" for component, of_one in keys.items() if of_one)]
    if without:
        lines.append(f"% No paper is known here of: {', '.join(without)}")
    return "\n".join([*lines, "", *(references()[key] for key in used)])


def components(board: Leaderboard) -> Iterator[Component]:
    """What a table shows, by its registered name; the same one may come several times."""
    keys = {line.key for line in board.groups[0].lines}
    for subject in (subject for store in board.stores for subject in store.plan().subjects):
        if subject.method is not None and subject.key in keys and not subject.baseline:
            yield Component("methods", subject.method.get("name", ""))
    for group in board.groups:
        explainer, attack = group.address
        if explainer:
            yield Component("explainers", _name(explainer))
        if attack:
            yield Component("attacks", _name(attack))
        yield from (Component("metrics", _name(metric.label)) for metric in group.metrics)
    yield from (Component("attacks", _name(metric.attack)) for metric in board.accuracies if metric.attack)


@functools.cache
def cited() -> Mapping[Component, Sequence[str]]:
    """The keys of the papers that every component of this project is from; none where it has no paper."""
    found = tomllib.loads(_file("components.toml"))
    return {Component(axis, name): keys for axis, names in found.items() for name, keys in names.items()}


@functools.cache
def references() -> Mapping[str, str]:
    """Every entry of BibTeX by its key."""
    return {match[1]: match[0] for match in ENTRY.finditer(_file("references.bib"))}


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _name(label: str) -> str:
    """Of the component that a label stands for."""
    return label.partition(":")[0]


def _order(component: Component) -> int:
    """Methods first, then what they are measured with; the order of the table within each."""
    return list(AXES).index(component.axis)
