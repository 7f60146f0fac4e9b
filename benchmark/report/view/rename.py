"""Other names for what a table shows: each stands for exactly one thing, and a column keeps its unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from attrobust.benchmark.report.view.names import Aliases, assigned
from attrobust.types import UsageError

OPTION = "--rename"
KINDS = {"row": "rows", "explainer": "explainers", "attack": "attacks", "metric": "columns"}
"""What may be renamed, as it is typed in front of a name that several have, and the axis that it is of."""


@dataclass(frozen=True)
class Renamed:
    """New names by old ones, for each of ``KINDS``."""

    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, kind: str, known: Aliases) -> dict[str, str]:
        """By label the new name of everything of a kind that has one; ``known`` are the labels by exact name."""
        return {label: new for old, new in self.names.get(kind, {}).items() for label in known.get(old, ())}


def renamed(texts: Sequence[str], known: Mapping[str, Iterable[str]], where: str) -> Renamed:
    """What ``OLD=NEW`` and ``KIND:OLD=NEW`` say.

    Args:
        texts: as typed.
        known: the exact names of every kind.
        where: tables are, in words.

    Raises:
        UsageError: nothing has the old name, or things of several kinds have; one is renamed twice, or to what another
            one is called.
    """
    exact = {kind: {*names} for kind, names in known.items()}
    plain = {name for names in exact.values() for name in names}
    typed = {f"{kind}:{name}": (kind, name) for kind, names in exact.items() for name in names}
    found: dict[str, dict[str, str]] = {kind: {} for kind in exact}
    for text in texts:
        kind = text.partition(":")[0]
        listed = {f"{kind}:{name}" for name in exact[kind]} if kind in exact else plain
        old, new = assigned(text, plain | {*typed}, OPTION, where, listed=listed)
        kinds = [kind for kind, names in exact.items() if old in names]
        if len(kinds) > 1:
            ways = " or ".join(f"{OPTION} {kind}:{old}={new}" for kind in kinds)
            raise UsageError(f"{OPTION} {text!r}: {old!r} is the name of {' and of '.join(map(_a, kinds))}; say {ways}")
        kind, name = (kinds[0], old) if kinds else typed[old]
        if name in found[kind]:
            raise UsageError(f"{OPTION} {text!r}: {name!r} has a new name already, {found[kind][name]!r}")
        if new in found[kind].values() or new in exact[kind] - {name}:
            raise UsageError(f"{OPTION} {text!r}: another {kind} is called {new!r}; choose another name")
        found[kind][name] = new
    return Renamed(found)


def with_unit(new: str, old: str) -> str:
    """A column's new title with the unit of the old one, ``(%)`` for instance, unless it ends with one itself."""
    _, bracket, unit = old.rpartition(" (")
    return f"{new} ({unit}" if bracket and unit.endswith(")") and not new.endswith(")") else new


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
