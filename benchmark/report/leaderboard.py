"""From what runs left on disk to a leaderboard: subsets, intervals, ranks and flags."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from attrobust.arrays import Booleans
from attrobust.benchmark.report.cells import Cells, one_thread_each, threads
from attrobust.benchmark.report.groups import Table
from attrobust.benchmark.report.ranking import methods_of
from attrobust.benchmark.report.records import Network, Place, Run
from attrobust.benchmark.report.shards import wholes
from attrobust.benchmark.report.table import ALL, COMMON, Group, Leaderboard
from attrobust.benchmark.store.schema import SCOPES, How
from attrobust.benchmark.store.store import Store
from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json
from attrobust.types import Scope, UsageError


def build(stores: Sequence[Store], how: How = "percentile") -> Leaderboard:
    """The leaderboard of one run, or of several with the same protocol, images, threat, columns and code.

    A network that several runs evaluated stands in it once.

    Args:
        stores: of the runs, or of all shards of a run.
        how: intervals over images are computed.

    Raises:
        UsageError: no run there, rows missing, or runs that do not compare.
        IncompleteError: some shards of a run are missing.
    """
    runs = [Run(whole) for whole in wholes(stores)]
    first = runs[0]
    networks: dict[str, tuple[Run, int]] = {}
    for run in runs:
        for position, subject in enumerate(run.plan.subjects):
            networks.setdefault(subject.key, (run, position))
    rows = [Network(run, position) for run, position in networks.values()]
    known = [row.correct for row in rows if row.correct is not None and not (row.baseline or row.chance)]
    common = np.logical_and.reduce(known) if known else np.zeros(first.images, dtype=np.bool_)
    subsets = {ALL: np.ones(first.images, dtype=np.bool_), COMMON: common}
    with one_thread_each():
        groups = _groups(rows, first, subsets, how)
    if not groups:
        raise UsageError(f"{first.folder}/run.json has no columns; run the benchmark again")
    choices = {fingerprint(as_json(choice)): choice for run in runs for choice in run.plan.choices}
    return Leaderboard(
        comparison=first.plan.comparison,
        accuracies=tuple(first.accuracies),
        groups=tuple(groups),
        common=int(common.sum()),
        at_chance=sum(row.chance is not None for row in rows),
        interval=how,
        choices=tuple(choices.values()),
        audited=all(row.audited for row in rows),
    )


def _groups(networks: Sequence[Network], run: Run, subsets: Mapping[str, Booleans], how: How) -> list[Group]:
    """All groups, of a table for each subset; scores are in memory for one group and for those it should beat."""
    methods = methods_of(networks)
    tables = [Table(networks, methods, run, subset, mask, how) for subset, mask in subsets.items()]
    for _, places in itertools.groupby(_places(run), key=lambda place: (place.scope, place.explainer)):
        together = list(places)
        rivals = {label for place in together for _, label in run.yardsticks.get(place.attack, [])}
        known: dict[str, Cells] = {}
        for place in together:
            metrics = run.of(place.scope)
            for label in dict.fromkeys([place.attack, *(label for _, label in run.yardsticks.get(place.attack, []))]):
                if label not in known:
                    known[label] = Cells(networks, replace(place, attack=label), metrics)
            # Networks that were trained anew are tried on the whole test split, of which there is no subset.
            shown = [table for table in tables if place.scope != "training" or table.subset == ALL]
            tasks = [task for table in shown for task in table.entries(place, metrics, known)]
            entries = list(threads().map(lambda task: task(), tasks))
            for number, table in enumerate(shown):
                table.add(place, metrics, entries[number * len(metrics) : (number + 1) * len(metrics)])
            known = {label: cells for label, cells in known.items() if label in rivals}
    return [group for table in tables for group in table.groups()]


def _places(run: Run) -> list[Place]:
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
