"""Runs that somebody names, beside each other: what is compared alike is one table, what differs is told in words."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attrobust.benchmark.report.sweeps import Together, together
from attrobust.benchmark.store.plan import Comparison, Plan
from attrobust.benchmark.store.store import Store
from attrobust.naming.file_names import not_a_path, real
from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json
from attrobust.types import UsageError

Named = tuple[str, Path]
"""The name of a version, and a folder of it."""
Address = tuple[str, str]
"""Labels of an explainer and an attack; empty where there is none."""
DIGITS = 12
"""Of a digest that is quoted."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Runs of one version that make a table.

    Attributes:
        version: its name.
        group: the runs.
        plan: of the first.
        codes: by the explainer and attack of a cell, the digest of the code that computed its scores.
    """

    version: str
    group: Together
    plan: Plan
    codes: Mapping[Address, str]

    @property
    def comparison(self) -> Comparison:
        """What its rows share."""
        return self.plan.comparison

    @property
    def kind(self) -> str:
        """The same of tables whose rows can stand in one."""
        plan = self.plan
        columns = [plan.explainers, [item.label for item in plan.attacks], as_json(plan.metrics)]
        return fingerprint([as_json(self.comparison), columns, self.group.part])


def named(texts: Sequence[str]) -> list[Named]:
    """``NAME=FOLDER`` of all that is typed, or folders without names; a folder that is there is no name.

    Raises:
        UsageError: some have names and some have none, or a named folder is not there.
    """
    found: list[Named] = []
    for text in texts:
        if not text.strip():
            raise UsageError("a RUN is empty; name a folder")
        name, equals, folder = text.partition("=")
        if problem := not_a_path(folder if equals and not Path(text).exists() else text):
            raise UsageError(problem)
        found.append(("", Path(text)) if not equals or Path(text).exists() else (name.strip(), Path(folder)))
    if len({bool(name) for name, _ in found}) > 1:
        raise UsageError(
            f"of {', '.join(texts)} some have a name and some have none; write NAME=FOLDER for all or none"
        )
    for name, path in found:
        if name and not path.exists():
            raise UsageError(f"{name}={path}: there is no folder {path}")
    return found


def beside_each_other(runs: Sequence[Named]) -> list[Together]:
    """The tables of named runs.

    Args:
        runs: the same name again is another shard of the same run.

    Raises:
        UsageError: a number of one would not mean what it means in another, says what differs; runs of one name are no
            shards; see also ``together``.
    """
    unfinished: list[Together] = []
    tables: list[_Table] = []
    for name in dict.fromkeys(name for name, _ in runs):
        for found in together(folders := [folder for other, folder in runs if other == name]):
            _check_shards(name, folders, found.stores)
            group = replace(found, stores=tuple(Store(store.folder, name) for store in found.stores))
            finished = [store for store in group.stores if store.is_finished]
            if group.unfinished or not finished:
                unfinished.append(replace(group, where=f"{name}, {group.where}" if group.where else name))
            else:
                tables.append(_Table(version=name, group=group, plan=finished[0].plan(), codes=_codes(finished[0])))
    for one, other in itertools.combinations(tables, 2):
        if one.version != other.version:
            _check(one, other)
    return [*_told_apart(tables), *unfinished]


def _check_shards(name: str, folders: Sequence[Path], stores: Sequence[Store]) -> None:
    """Raise UsageError where folders of one name are not shards of one run."""
    whole = [store.folder for store in stores if store.is_finished and store.plan().shard is None]
    if len(folders) > 1 and (whole or len({real(folder) for folder in folders}) < len(folders)):
        given = " ".join(f"{name}={folder}" for folder in folders)
        raise UsageError(f"{given}: {name!r} is the name of runs that are no shards of one; give each its own name")


def _told_apart(tables: Sequence[_Table]) -> list[Together]:
    """Tables with what tells each from the others: its versions, and the facts that are not the same in all."""
    kinds: dict[str, list[_Table]] = {}
    for table in tables:
        kinds.setdefault(table.kind, []).append(table)
    firsts = [members[0] for members in kinds.values()]
    told = [fact for fact in FACTS if len({fact(table) for table in firsts}) > 1]
    found = []
    for members in kinds.values():
        words = [" and ".join(dict.fromkeys(table.version for table in members)), *(fact(members[0]) for fact in told)]
        where = ", ".join(filter(None, words)) if len(kinds) > 1 else ""
        found += [replace(table.group, where=where, table="") for table in members]
    return found


def _threat(table: _Table) -> str:
    norm, _, eps = table.comparison.threat.partition(" ")
    return f"eps {eps}" if norm == "linf" else table.comparison.threat


def _part(table: _Table) -> str:
    return table.group.part


def _dataset(table: _Table) -> str:
    return table.comparison.dataset


def _model(table: _Table) -> str:
    return table.comparison.model


FACTS: tuple[Callable[[_Table], str], ...] = (_part, _dataset, _model, _threat)
"""What may differ, in the order in which it is said."""
WORDS = {
    "images": "number of images",
    "data_sha256": "images",
    "keep_prediction": "rule for predictions",
    "label": "convention of labels",
    "reduction": "reduction of channels",
    "seed": "seed of the evaluation",
}
"""Facts that have to be the same, beside the code, and what each is called."""


def _check(one: _Table, other: _Table) -> None:
    """Raise UsageError where numbers of two tables do not compare."""
    mine, theirs = one.comparison, other.comparison
    pair = f"{_place(one)} does not compare with {_place(other)}"
    for place in one.codes.keys() & other.codes.keys():
        codes = one.codes[place], other.codes[place]
        if codes[0] != codes[1]:
            raise UsageError(
                f"{pair}: their scores were computed by other code ({codes[0][:DIGITS]} and {codes[1][:DIGITS]}); "
                "run the older one again"
            )
    if one.group.part != other.group.part:
        return
    same_dataset = mine.dataset == theirs.dataset
    for key, words in WORDS.items():
        values = getattr(mine, key), getattr(theirs, key)
        if values[0] != values[1] and (same_dataset or key not in ("images", "data_sha256")):
            shown = "" if key == "data_sha256" else f", {_shown(values[0])} and {_shown(values[1])}"
            raise UsageError(f"{pair}: other {words}{shown}")
    for axis in ("explainers", "attacks"):
        for label, (settings, others) in _shared(one.plan, other.plan, axis).items():
            if settings != others:
                raise UsageError(f"{pair}: {label!r} stands for other settings; they have to be typed the same way")


def _codes(store: Store) -> dict[Address, str]:
    """The code behind each explainer and attack of a run; that of clean accuracy, without either, is in every run.

    The digest in the plan is no measure: it also tells how many explainers and attacks there are.
    """
    plan, rows = store.plan(), store.rows()
    return {
        (entry.explainer, entry.attack): rows[entry.row].cell.code
        for entry in plan.entries
        if not plan.subjects[entry.subject].baseline and entry.row in rows
    }


def _shared(one: Plan, other: Plan, axis: str) -> dict[str, tuple[object, object]]:
    """The explainers or attacks that two runs call the same, with all their settings in each."""
    found = []
    for plan in (one, other):
        labels = [getattr(item, "label", item) for item in getattr(plan, axis)]
        # Plans of older versions do not list the settings.
        found.append(dict(zip(labels, getattr(plan.comparison, axis), strict=False)))
    mine, theirs = found
    return {label: (mine[label], theirs[label]) for label in mine if label in theirs}


def _place(table: _Table) -> str:
    return f"{table.group.stores[0].folder} ({table.version})"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "kept" if value else "free"
    return str(value)
