"""From what runs left on disk to a leaderboard: subsets, intervals, ranks and flags."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attrobust.arrays import Booleans
from attrobust.benchmark.report.beaten import beaten
from attrobust.benchmark.report.ranking import methods_of, rank
from attrobust.benchmark.report.records import Network, Place, Run, Scored
from attrobust.benchmark.report.shards import wholes
from attrobust.benchmark.report.table import ALL, COMMON, Group, Leaderboard, Line, Mean, Metric, Number
from attrobust.benchmark.statistics import OverSeeds, estimate, over_seeds, spread
from attrobust.benchmark.store.schema import SCOPES, How
from attrobust.benchmark.store.store import Store
from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json
from attrobust.types import Flag, Scope, UsageError


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
    tables = [_table(rows, first, subset, mask, how) for subset, mask in subsets.items()]
    if not any(tables):
        raise UsageError(f"{first.folder}/run.json has no columns; run the benchmark again")
    choices = {fingerprint(as_json(choice)): choice for run in runs for choice in run.plan.choices}
    return Leaderboard(
        comparison=first.plan.comparison,
        accuracies=tuple(first.accuracies),
        groups=tuple(itertools.chain.from_iterable(tables)),
        common=int(common.sum()),
        at_chance=sum(row.chance is not None for row in rows),
        interval=how,
        choices=tuple(choices.values()),
        audited=all(row.audited for row in rows),
    )


def _places(run: Run, subset: str) -> list[Place]:
    """Every group of a table; networks trained anew are tried on the whole test split, of which there is no subset."""
    explainers, attacks = run.plan.explainers, [item.label for item in run.plan.attacks]
    found: dict[Scope, list[tuple[str, str]]] = {
        "attack": [(explainer, attack) for explainer in explainers for attack in attacks],
        "map": [(explainer, "") for explainer in explainers],
        "network": [("", "")],
        "training": [(explainer, "") for explainer in explainers] if subset == ALL else [],
    }
    return [
        Place(scope=scope, explainer=explainer, attack=attack)
        for scope in SCOPES
        if run.of(scope)
        for explainer, attack in found[scope]
    ]


def _table(networks: Sequence[Network], run: Run, subset: str, mask: Booleans, how: How) -> list[Group]:
    """All groups over one subset, ranked together: a table is one family of comparisons."""
    columns = [(place, metric) for place in _places(run, subset) for metric in run.of(place.scope)]
    scores = [[network.masked(*column, mask) for network in networks] for column in columns]
    methods = methods_of(networks)
    competing = [method for method in methods if not any(networks[index].chance for index in method)]
    places = {method: position for position, method in enumerate(competing)}
    ranks = rank(competing, scores, [metric.higher_is_better for _, metric in columns])
    groups = []
    for place, members in itertools.groupby(range(len(columns)), key=lambda index: columns[index][0]):
        here = list(members)
        numbers = [_column(networks, run, *columns[i], scores[i], how) for i in here]
        lines = [_line(network, place, [column[i] for column in numbers]) for i, network in enumerate(networks)]
        means = []
        for method in methods:
            found = [ranks[i][places[method]] if method in places else None for i in here]
            if len(method) == 1:
                line = lines[method[0]]
                ranked = [replace(number, rank=n) for number, n in zip(line.numbers, found, strict=True)]
                lines[method[0]] = replace(line, numbers=tuple(ranked))
            else:
                means.append(_mean([lines[index] for index in method], found))
        groups.append(
            Group(
                subset=subset,
                images=next((len(found.values) for found in scores[here[0]] if found), int(mask.sum())),
                scope=place.scope,
                explainer=place.explainer,
                attack=place.attack,
                metrics=tuple(columns[i][1] for i in here),
                lines=tuple(lines),
                means=tuple(means),
            )
        )
    return groups


def _line(network: Network, place: Place, numbers: Sequence[Number]) -> Line:
    return Line(
        label=network.subject.label,
        seed=network.subject.seed,
        sha256=network.subject.sha256,
        method=network.method,
        key=network.subject.key,
        accuracies=network.accuracies,
        numbers=tuple(numbers),
        origin=network.origin,
        flags=network.flags(place),
        baseline=network.baseline,
        chance=network.chance,
    )


def _mean(lines: Sequence[Line], ranks: Sequence[int | None]) -> Mean:
    """One method over the lines of its seeds."""
    return Mean(
        label=lines[0].label,
        method=lines[0].method,
        seeds=len(lines),
        accuracies=tuple(_over(numbers) for numbers in zip(*(line.accuracies for line in lines), strict=True)),
        numbers=tuple(_over(numbers) for numbers in zip(*(line.numbers for line in lines), strict=True)),
        ranks=tuple(ranks),
        origin=lines[0].origin,
        flags=tuple(dict.fromkeys(line.chance for line in lines if line.chance)),
    )


def _over(numbers: Sequence[Number]) -> OverSeeds | None:
    means = [number.estimate.mean for number in numbers if number.estimate]
    return over_seeds(means) if len(means) == len(numbers) else None


def _column(
    networks: Sequence[Network],
    run: Run,
    place: Place,
    metric: Metric,
    scores: Sequence[Scored | None],
    how: How,
) -> list[Number]:
    """One metric of every network in a group, not ranked yet."""
    column = []
    for network, found in zip(networks, scores, strict=True):
        if found is None:
            column.append(Number(estimate=None))
            continue
        flags = [network.chance] if network.chance else []
        if not network.baseline:
            flags += [*network.flags(place), *_beaten(network, found, run, place, metric)]
        column.append(
            Number(
                estimate=estimate(found.values, how, unit=metric.unit),
                feasible=int(found.feasible.sum()) if place.attack else None,
                spread=spread(found.values, higher_is_better=metric.higher_is_better),
                flags=tuple(flags),
            )
        )
    return column


def _beaten(network: Network, found: Scored, run: Run, place: Place, metric: Metric) -> list[Flag]:
    """A flag for each kind of attack, of name and label, of which one does as much to the scores as what was found."""
    flags: dict[str, Flag] = {}
    for name, label in run.yardsticks.get(place.attack, []):
        other = network.masked(replace(place, attack=label), metric, found.mask)
        if other is None or network.is_own_source_model(place.explainer, label):
            continue
        flag = beaten(found.values, other.values, name, higher_is_better=metric.higher_is_better)
        if flag is not None:
            flags.setdefault(name, flag)
    return list(flags.values())
