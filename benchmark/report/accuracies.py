"""How accuracies are ranked: like the rest of a table, but as a family of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrobust.benchmark.report.cells import Scored
from attrobust.benchmark.report.ranking import Method, column
from attrobust.benchmark.report.records import Network
from attrobust.benchmark.report.table import Metric
from attrobust.benchmark.report.view.keep import Keep
from attrobust.benchmark.statistics import Comparison, compared

Ranks = Mapping[Method, tuple[int | None, ...]]
"""For every method that competes its rank in each accuracy."""


def accuracy_ranks(
    networks: Sequence[Network], methods: Sequence[Method], metrics: Sequence[Metric], keep: Keep
) -> Ranks:
    """The ranks of clean accuracy and of that under attack, see ``statistics.compare``; over all their images.

    Args:
        networks: the rows of a table.
        methods: those of them that compete.
        metrics: all accuracies of the table.
        keep: what is shown of them; others have no ranks, and do not count.
    """
    shown = [index for index, metric in enumerate(metrics) if keep.has_accuracy(metric)]
    columns = [column(methods, _scores(networks, metrics[index]), metrics[index].higher_is_better) for index in shown]
    found = dict(zip(shown, Comparison(map(compared, columns)).ranks(), strict=True)) if shown else {}
    none = (None,) * len(methods)
    ranks = [found.get(index, none) for index in range(len(metrics))]
    return dict(zip(methods, zip(*ranks, strict=True), strict=True))


def _scores(networks: Sequence[Network], metric: Metric) -> list[Scored | None]:
    """Rights and wrongs of every network; of none where they are not of equally many images."""
    found = [network.stored_at("", metric.attack, metric.label) for network in networks]
    if len({len(stored.scores) for stored in found if stored}) > 1:
        return [None] * len(found)
    return [Scored(values=stored.scores, feasible=stored.feasible) if stored else None for stored in found]
