"""What a leaderboard is made of: groups of rows that compare, with intervals, ranks and flags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from attrobust.benchmark.report.training import Origin
from attrobust.benchmark.report.view.style import DEFAULT, Style
from attrobust.benchmark.statistics import Estimate, OverSeeds, Spread
from attrobust.benchmark.store.choice import Choice
from attrobust.benchmark.store.explainer_choice import ExplainerChoice
from attrobust.benchmark.store.plan import Comparison
from attrobust.benchmark.store.rows import Contest, MetricFacts
from attrobust.benchmark.store.schema import SCOPES, How
from attrobust.benchmark.store.store import Store
from attrobust.types import Flag, Scope

TableScope = Scope | Literal["accuracy", "worst"]
"""What a group of a table is about: a scope of metrics, accuracies, or the worst case over all attacks."""
TABLE_SCOPES: tuple[TableScope, ...] = ("accuracy", "worst", *SCOPES)
"""In the order of the tables."""
MORE_DIGITS = 6
"""That a width has at most beyond those of its mean; less than they show is rounding."""
ALL, COMMON = "all", "common"
"""Subsets of the images: every one, or those that every network classifies correctly that is not at chance."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is printed.

    Attributes:
        label: as typed; unique in a run.
        title: what a header says.
        higher_is_better: whether a larger value speaks for the model.
        scale, decimals: a value is printed times ``scale`` with so many digits after the point.
        unit: whether the smallest and the largest possible value are 0 and 1.
        scope: what it belongs to.
        attack: for accuracy, the attack it is measured under; empty where that is none, or the group's.
    """

    label: str
    title: str
    higher_is_better: bool
    scale: float
    decimals: int
    unit: bool
    scope: Scope | Literal["accuracy"]
    attack: str = ""

    @classmethod
    def of(cls, facts: MetricFacts, attack: str = "") -> Metric:
        """From the facts that a run records."""
        return cls(
            label=facts.label,
            title=facts.title,
            higher_is_better=facts.higher_is_better,
            scale=facts.scale,
            decimals=facts.decimals,
            unit=facts.unit,
            scope=facts.scope,
            attack=attack,
        )

    def text(self, value: float, digits: int = 0) -> str:
        """The digits every table shows for a value, and so many more; empty where it is undefined."""
        if math.isnan(value):
            return ""
        shown = f"{value * self.scale:.{self.decimals + digits}f}"
        return shown.removeprefix("-") if float(shown) == 0 else shown

    def width_text(self, width: float, digits: int = 0) -> str:
        """A distance between values with the digits of ``text``, and with more where these are all 0."""
        shown = [self.text(width, digits + more) for more in range(MORE_DIGITS + 1)]
        return next((text for text in shown if text and float(text)), shown[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One entry of a table.

    Attributes:
        estimate: mean and interval over images; None where the cell failed.
        feasible: images whose attack obeyed the rules; None where nothing attacked.
        rank: one more than the rows of the group that are better and can be told from it; None where it is not ranked,
            as no flagged number is.
        spread: quantiles and the worst image; None where there are none.
        flags: reasons not to trust it.
        contests: who made it worse after the run, with stronger images.
    """

    estimate: Estimate | None
    feasible: int | None = None
    rank: int | None = None
    spread: Spread | None = None
    flags: tuple[Flag, ...] = ()
    contests: tuple[Contest, ...] = ()

    @property
    def best(self) -> bool:
        """Whether no row of its group is better and can be told from it."""
        return self.rank == 1


@dataclass(frozen=True, kw_only=True)
class Line:
    """A network's entries in one group, one for each metric.

    Attributes:
        label, seed: what the network is called.
        sha256: of its weights.
        method: fingerprint of everything that makes it the network it is beside the seed and these weights.
        key: fingerprint of all of that.
        accuracies, numbers: its entries.
        flags: of the network and the explainer, which ``numbers`` have too.
        baseline: whether it is a row that no table should be led by; such a row has no ranks.
        origin: how it came by its weights.
        chance: raised where it does no better than guessing, which all of its entries have too; it then has no ranks.
        passes: how often each image goes through it in training; None where that is not known.
    """

    label: str
    seed: int | None
    sha256: str
    method: str
    key: str
    accuracies: tuple[Number, ...]
    numbers: tuple[Number, ...]
    origin: Origin
    flags: tuple[Flag, ...] = ()
    baseline: bool = False
    chance: Flag | None = None
    passes: float | None = None


@dataclass(frozen=True, kw_only=True)
class SeedNumber:
    """A number of one method over its training seeds.

    Attributes:
        value: mean and standard error over the seeds of means over images; None where a seed failed.
        rank: see ``Number.rank``; the numbers of the seeds themselves have none.
        flags: of the seeds' numbers.
    """

    value: OverSeeds | None
    rank: int | None = None
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mean:
    """One method over its training seeds, in one group.

    Attributes:
        label, method, origin: see ``Line``.
        seeds: how many.
        accuracies, numbers: its entries.
        chance: raised where a seed does no better than guessing; the method then has no ranks.
        passes: see ``Line``.
    """

    label: str
    method: str
    seeds: int
    accuracies: tuple[SeedNumber, ...]
    numbers: tuple[SeedNumber, ...]
    origin: Origin
    chance: tuple[Flag, ...] = ()
    passes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that compare: one explainer under one attack, one explainer alone or the networks, over a subset of images.

    Attributes:
        subset, images: of the images, and how many.
        scope: what its metrics belong to.
        explainer, attack: as typed, or as a view calls them; empty where there is none.
        metrics, lines: its columns and rows.
        means: of the methods with several training seeds.
        typed: explainer and attack as typed, where a view calls them otherwise.
    """

    subset: str
    images: int
    scope: TableScope
    explainer: str
    attack: str
    metrics: tuple[Metric, ...]
    lines: tuple[Line, ...]
    means: tuple[Mean, ...] = ()
    typed: tuple[str, str] | None = None

    @property
    def address(self) -> tuple[str, str]:
        """Explainer and attack as the run has them."""
        return self.typed or (self.explainer, self.attack)

    @property
    def title(self) -> str:
        """Explainer and attack, or what is measured without them."""
        if self.scope in ("accuracy", "network"):
            return "accuracy" if self.scope == "accuracy" else "the networks alone"
        suffix = {"map": "clean maps", "training": "networks trained anew"}.get(self.scope, self.attack)
        return f"{self.explainer}, {suffix}"


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """Everything a table says.

    Attributes:
        comparison: what all rows share: protocol, dataset, threat and so on.
        accuracies: how clean accuracy is printed and, where it was measured, that under attack.
        groups: over all images first, then over those every network classifies correctly. Where accuracies alone are
            shown it is one without metrics, which has the rows.
        worst: of every explainer the worst case over all attacks, over all images; none where there is one attack.
        common: images that every evaluated network classifies correctly, but for those at chance.
        at_chance: networks that do no better than guessing.
        interval: how intervals over images were computed.
        choices: how rows were chosen on the validation split.
        tuned: how settings of explainers were chosen there.
        audited: whether every network and explainer was tried out for flags.
        part: of the protocol that it is of, or several; empty where the protocol has no parts.
        where: of a table beside others, what it is about, e.g. ``eps 2/255``; empty where it stands alone.
        style: how its numbers are written.
        has_verdict: whether a verdict counts all of its columns; not where a view leaves some out.
        stores: of the runs that it was built from, for what is said beside its numbers.
        said: names of rows once they are found, see ``words``.
    """

    comparison: Comparison
    accuracies: tuple[Metric, ...]
    groups: tuple[Group, ...]
    worst: tuple[Group, ...] = ()
    common: int
    at_chance: int = 0
    interval: How = "percentile"
    choices: tuple[Choice, ...] = ()
    tuned: tuple[ExplainerChoice, ...] = ()
    audited: bool = True
    part: str = ""
    where: str = ""
    style: Style = DEFAULT
    has_verdict: bool = True
    stores: tuple[Store, ...] = field(default=(), repr=False, compare=False)
    said: dict[tuple[str, ...], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def first_subset(self) -> str:
        """All images, unless a view shows another subset alone."""
        return self.groups[0].subset

    def subset(self, name: str, scope: TableScope | None = None) -> list[Group]:
        """The groups over one subset that measure something, of one scope where one is given."""
        found = [group for group in self.groups if group.subset == name and scope in (None, group.scope)]
        return [group for group in found if group.metrics]

    @property
    def accuracy(self) -> Group:
        """The accuracies as a group; baselines whose network is that of another row have no row in it."""
        first = self.groups[0]
        others = {line.sha256 for line in first.lines if not line.baseline}
        return replace(
            first,
            scope="accuracy",
            explainer="",
            attack="",
            typed=None,
            metrics=self.accuracies,
            lines=tuple(
                replace(line, numbers=line.accuracies)
                for line in first.lines
                if not (line.baseline and line.sha256 in others)
            ),
            means=tuple(replace(mean, numbers=mean.accuracies) for mean in first.means),
        )

    def title(self, group: Group) -> str:
        """What a group is about."""
        return f"{group.title}, {self.where}" if self.where else group.title


Shown = tuple[Leaderboard, Group]


def beside(boards: Sequence[Leaderboard], subset: str, scope: TableScope | None = None) -> list[Shown]:
    """The groups of tables: of each explainer and attack those of all tables that have it, one by one.

    Accuracies, where there are any, and worst cases come first, over all images or over a subset that is shown alone.
    """
    together: dict[tuple[TableScope, str, str], list[Shown]] = {}
    for board in boards:
        accuracies = (board.accuracy,) if board.accuracies else ()
        first = (*accuracies, *board.worst) if subset == board.first_subset else ()
        for group in (*(item for item in first if scope in (None, item.scope)), *board.subset(subset, scope)):
            together.setdefault((group.scope, group.explainer, group.attack), []).append((board, group))
    # The sort is stable: within a scope the order is that of the first table, then of those that add to it.
    return [pair for key in sorted(together, key=lambda key: TABLE_SCOPES.index(key[0])) for pair in together[key]]


def by_columns(shown: Sequence[Shown]) -> list[list[Shown]]:
    """Groups apart by their columns, each in the order given."""
    apart: dict[tuple[Metric, ...], list[Shown]] = {}
    for board, group in shown:
        apart.setdefault(group.metrics, []).append((board, group))
    return list(apart.values())
