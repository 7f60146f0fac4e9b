"""What somebody asks to see of tables, in words, and what that is of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from attrobust.benchmark.report.groups import line_of
from attrobust.benchmark.report.leaderboard import read
from attrobust.benchmark.report.records import Network, Place, Run
from attrobust.benchmark.report.table import Group, Leaderboard, Metric
from attrobust.benchmark.report.view.keep import Keep
from attrobust.benchmark.report.view.names import Aliases, aliases, split
from attrobust.benchmark.report.words import header, name
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError

AXES = ("rows", "explainers", "attacks", "metrics", "columns")
HELD_APART = " of "
"""Between a sanity-check baseline and the network that it is of."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """The names in one table, by axis.

    Attributes:
        rows, explainers, attacks, metrics, columns: labels, titles, and the names of components without their settings.
        exact: of each axis those names that leave no settings out.
    """

    rows: Aliases
    explainers: Aliases
    attacks: Aliases
    metrics: Aliases
    columns: Aliases
    exact: Mapping[str, Aliases]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is asked for, as typed; empty for all of it.

    Attributes:
        rows, explainers, attacks, metrics: names.
        columns: names of metrics and accuracies.
        subset: of the images.
    """

    rows: str = ""
    explainers: str = ""
    attacks: str = ""
    metrics: str = ""
    columns: str = ""
    subset: str = ""

    def keeps(self, tables: Sequence[Sequence[Store]], where: str) -> list[Keep | None]:
        """What is shown of each table; None for one that has none of the rows, or none of the columns.

        Args:
            tables: the runs of each.
            where: the tables are, in words.

        Raises:
            UsageError: a name that no table has, or both metrics and columns are given.
            IncompleteError: see ``leaderboard.read``.
        """
        if self.metrics and self.columns:
            raise UsageError("--columns chooses among the metrics too; leave --metrics out")
        if not any(getattr(self, axis) for axis in AXES):
            return [Keep(subset=self.subset)] * len(tables)
        known = [known_of(stores) for stores in tables]
        asked = {
            axis: split(text, {name for one in known for name in getattr(one, axis)}, f"--{axis}", where)
            for axis in AXES
            if (text := getattr(self, axis))
        }
        return [self._keep(one, asked) for one in known]

    def _keep(self, known: Known, asked: Mapping[str, Sequence[str]]) -> Keep | None:
        found: dict[str, tuple[str, ...]] = {}
        for axis, names in asked.items():
            here: Aliases = getattr(known, axis)
            found[axis] = tuple(dict.fromkeys(label for name in names for label in here.get(name, ())))
            if not found[axis]:
                return None
        chosen = found.get("metrics", found.get("columns"))
        columns = found.get("columns")
        return Keep(
            rows=found.get("rows"),
            explainers=found.get("explainers"),
            attacks=found.get("attacks"),
            metrics=None if chosen is None else tuple(item for item in chosen if not item.startswith(ACCURACY)),
            accuracies=None
            if columns is None
            else tuple(item.removeprefix(ACCURACY) for item in columns if item.startswith(ACCURACY)),
            subset=self.subset,
        )


ACCURACY = "accuracy#"
"""In front of the attack of an accuracy, in the place of a label."""


def accuracy_key(metric: Metric) -> str:
    """What an accuracy has in the place of a label, which the same metric under another attack shares."""
    return f"{ACCURACY}{metric.attack}"


def known_of(stores: Sequence[Store]) -> Known:
    """The names in the table of some runs."""
    runs, networks, _ = read(stores)
    run = runs[0]
    metrics = [
        (metric.label, [metric.label, *_titles(metric, _beside(run, metric))], [*_short(metric.label)])
        for metric in run.metrics
    ]
    accuracies: list[_Item] = [(accuracy_key(item), _titles(item, run.accuracies), []) for item in run.accuracies]
    axes: dict[str, list[_Item]] = {
        "rows": [*_rows(run, networks)],
        "explainers": [(label, [label], _short(label)) for label in run.plan.explainers],
        "attacks": [(item.label, [item.label], [item.name]) for item in run.plan.attacks],
        "metrics": [*metrics],
        "columns": [*accuracies, *metrics],
    }
    return Known(
        **{axis: aliases((label, [*exact, *short]) for label, exact, short in items) for axis, items in axes.items()},
        exact={axis: aliases((label, exact) for label, exact, _ in items) for axis, items in axes.items()},
    )


_Item = tuple[str, list[str], list[str]]
"""A label with its exact names, the most precise first, and with those that leave settings out."""


def _beside(run: Run, metric: Metric) -> Sequence[Metric]:
    return [other for other in run.metrics if other.scope == metric.scope]


def _rows(run: Run, networks: Sequence[Network]) -> Iterable[_Item]:
    """Every row by its key: what the table calls it and what was typed; the method's name."""
    place = Place(scope="network", explainer="", attack="")
    lines = tuple(line_of(network, place, []) for network in networks)
    group = Group(subset="", images=0, scope="network", explainer="", attack="", metrics=(), lines=lines)
    board = Leaderboard(comparison=run.plan.comparison, accuracies=(), groups=(group,), common=0)
    for line in lines:
        short = [line.label.partition(HELD_APART)[0]] if line.baseline else _short(line.label)
        yield line.key, [name(line, board), line.label], short


def _short(label: str) -> list[str]:
    """The name of a component without its settings."""
    return [label.partition(":")[0]]


def _titles(metric: Metric, others: Sequence[Metric]) -> list[str]:
    """What a column is called, with its unit and without."""
    title = header(metric, others)
    return [title, title.rpartition(" (")[0] or title]
