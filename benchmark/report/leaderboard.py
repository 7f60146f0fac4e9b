"""From what runs left on disk to a leaderboard: subsets, intervals, ranks and flags."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from attrobust.arrays import Booleans
from attrobust.benchmark.report.accuracies import accuracy_ranks
from attrobust.benchmark.report.cells import Cells
from attrobust.benchmark.report.groups import Entries, Table
from attrobust.benchmark.report.processes import each
from attrobust.benchmark.report.ranking import competing, methods_of
from attrobust.benchmark.report.records import Network, Place, Run
from attrobust.benchmark.report.shards import wholes
from attrobust.benchmark.report.table import ALL, COMMON, Group, Leaderboard
from attrobust.benchmark.report.view.keep import EVERYTHING, Keep
from attrobust.benchmark.report.worst import Pool, beaten_throughout, label_of
from attrobust.benchmark.store.schema import SCOPES, How
from attrobust.benchmark.store.store import Store
from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json
from attrobust.types import Scope, UsageError


def build(stores: Sequence[Store], how: How = "percentile", keep: Keep = EVERYTHING) -> Leaderboard:
    """The leaderboard of one run, or of several with the same protocol, images, threat, columns and code.

    A network that several runs evaluated stands in it once.

    Args:
        stores: of the runs, or of all shards of a run.
        how: intervals over images are computed.
        keep: what is shown and ranked.

    Raises:
        UsageError: no run there, rows missing, or runs that do not compare.
        IncompleteError: some shards of a run are missing.
    """
    runs, known, subsets = read(stores)
    first, rows = runs[0], keep.networks(known)
    groups, worst = _groups(rows, first, subsets, how, keep)
    if not groups and keep != EVERYTHING:
        raise UsageError(
            f"nothing of {first.folder} is left to show; name a metric that its explainers and attacks have"
        )
    if not groups:
        raise UsageError(f"{first.folder}/run.json has no columns; run the benchmark again")
    choices = {fingerprint(as_json(choice)): choice for run in runs for choice in run.plan.choices}
    tuned = {
        fingerprint(as_json(choice)): choice
        for run in runs
        for choice in run.plan.explainer_choices or ()
        if keep.explainers is None or choice.shown in keep.explainers
    }
    board = Leaderboard(
        comparison=first.plan.comparison,
        accuracies=tuple(first.accuracies),
        groups=tuple(groups),
        worst=tuple(worst),
        common=int(subsets[COMMON].sum()),
        at_chance=sum(row.chance is not None for row in known),
        interval=how,
        choices=tuple(choices.values()),
        tuned=tuple(tuned.values()),
        audited=all(row.audited for row in rows),
        has_verdict=keep.has_verdict(item.label for item in first.plan.attacks),
        stores=tuple(stores),
    )
    return keep.with_accuracies(board)


def read(stores: Sequence[Store]) -> tuple[list[Run], list[Network], dict[str, Booleans]]:
    """The runs of a table, its rows in order, and by name the subsets of images: for each image whether it is in it.

    Raises:
        UsageError, IncompleteError: see ``build``.
    """
    runs = [Run(whole) for whole in wholes(stores)]
    images = runs[0].images
    found: dict[str, list[tuple[Run, int]]] = {}
    for run in runs:
        for position, subject in enumerate(run.plan.subjects):
            found.setdefault(subject.key, []).append((run, position))
    names = [*dict.fromkeys(run.version for run in runs)]
    rows = _in_order([Network(*places[0], _version([run for run, _ in places], names)) for places in found.values()])
    known = [row.correct for row in rows if row.correct is not None and not (row.baseline or row.chance)]
    common = np.logical_and.reduce(known) if known else np.zeros(images, dtype=np.bool_)
    return runs, rows, {ALL: np.ones(images, dtype=np.bool_), COMMON: common}


def _version(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Which versions evaluated a network; empty where all did."""
    found = [name for name in names if name in {run.version for run in runs}]
    return "" if len(found) == len(names) else " and ".join(found)


def _in_order(networks: Sequence[Network]) -> list[Network]:
    """The rows of several runs in the order of one: seeds of a method beside each other, baselines at the end."""
    first = {index: members[0] for members in methods_of(networks) for index in members}
    order = sorted(range(len(networks)), key=lambda index: (networks[index].baseline, first.get(index, index)))
    return [networks[index] for index in order]


def _groups(
    networks: Sequence[Network], run: Run, subsets: Mapping[str, Booleans], how: How, keep: Keep
) -> tuple[list[Group], list[Group]]:
    """All groups, of a table for each subset, and the worst cases, which are a table of their own.

    Scores are in memory for one group, for the worst of its explainer and for those it should beat.
    """
    methods = methods_of(networks)
    ranks = accuracy_ranks(networks, competing(networks, methods), run.accuracies, keep)
    *tables, worst = (
        Table(networks, methods, run, subset, mask, how, ranks)
        for subset, mask in (*keep.subsets(subsets).items(), (ALL, subsets[ALL]))
    )
    places = [place for place in keep.places(places_of(run)) if keep.columns(run.of(place.scope))]
    units = [list(unit) for _, unit in itertools.groupby(places, key=lambda place: (place.scope, place.explainer))]
    scores = run.images * len(networks) * sum(len(run.of(place.scope)) for unit in units for place in unit)
    find = functools.partial(_entries, tables, worst, networks, run, keep)
    for unit, (found, pooled) in zip(units, each(find, units, scores=scores, words="tables"), strict=True):
        for place, of_tables in zip(unit, found, strict=True):
            for table, entries in zip(tables, of_tables, strict=False):
                table.add(place, keep.columns(run.of(place.scope)), entries)
        if pooled:
            worst.add(_worst_place(unit[0].explainer, len(unit)), keep.columns(run.of("attack")), pooled)
    if not places and keep.accuracies:
        tables[0].add(Place(scope="network", explainer="", attack=""), (), ())
    return [group for table in tables for group in table.groups()], worst.groups()


def _entries(
    tables: Sequence[Table], worst: Table, networks: Sequence[Network], run: Run, keep: Keep, unit: Sequence[Place]
) -> tuple[list[list[list[Entries]]], list[Entries]]:
    """For every place of an explainer what each table says in it; and the worst case of several attacks."""
    rivals = {label for place in unit for _, label in run.yardsticks.get(place.attack, [])}
    known: dict[str, Cells] = {}
    entries = []
    metrics = keep.columns(run.of(unit[0].scope))
    pools = unit[0].scope == "attack" and len(unit) > 1 and keep.has_worst(item.label for item in run.plan.attacks)
    pool = Pool(networks, unit[0].explainer, metrics) if pools else None
    for place in unit:
        for label in dict.fromkeys([place.attack, *(label for _, label in run.yardsticks.get(place.attack, []))]):
            if label not in known:
                known[label] = Cells.read(networks, replace(place, attack=label), metrics)
        # Networks that were trained anew are tried on the whole test split, of which there is no subset.
        shown = [table for table in tables if place.scope != "training" or table.subset == ALL]
        entries.append([table.entries(place, metrics, known) for table in shown])
        if pool is not None:
            pool.add(place.attack, known[place.attack])
        known = {label: cells for label, cells in known.items() if label in rivals}
    if pool is None or pool.cells is None:
        return entries, []
    worst_place = _worst_place(unit[0].explainer, len(unit))
    attacks = [place.attack for place in unit]
    # A worst case is over all images, and so is the first table.
    flags = [
        [beaten_throughout([*zip(attacks, numbers, strict=True)]) for numbers in zip(*under, strict=True)]
        for under in zip(*([found.numbers for found in of_tables[0]] for of_tables in entries), strict=True)
    ]
    return entries, worst.entries(worst_place, metrics, {worst_place.attack: pool.cells}, flags)


def places_of(run: Run) -> list[Place]:
    """Every group of a table."""
    explainers, attacks = run.plan.explainers, [item.label for item in run.plan.attacks]
    found: dict[Scope, list[tuple[str, str]]] = {
        "attack": [(explainer, attack) for explainer in explainers for attack in attacks],
        "map": [(explainer, "") for explainer in explainers],
        "network": [("", "")],
        "training": [(explainer, "") for explainer in explainers],
    }
    return [
        Place(scope=scope, explainer=explainer, attack=attack)
        for scope in SCOPES
        if run.of(scope)
        for explainer, attack in found[scope]
    ]


def worst_places(run: Run) -> list[Place]:
    """The group of every explainer with the worst case of its attacks; none where there are not several."""
    attacks = len(run.plan.attacks)
    if attacks < 2 or not run.of("attack"):
        return []
    return [_worst_place(explainer, attacks) for explainer in run.plan.explainers]


def _worst_place(explainer: str, attacks: int) -> Place:
    return Place(scope="worst", explainer=explainer, attack=label_of(attacks))
