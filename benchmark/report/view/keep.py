"""Which rows, blocks and columns of a table are shown; images stay those of the whole table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from attrobust.arrays import Booleans
from attrobust.benchmark.report.records import Network, Place
from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Metric
from attrobust.benchmark.store.schema import SCOPES


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What is shown, each in the order given; None for all of it in the order of the run.

    Attributes:
        rows: keys of networks.
        explainers, attacks, metrics: labels. Blocks without an explainer or an attack are not chosen by it.
        accuracies: the attacks that accuracy is measured under; an empty one for clean accuracy.
        subset: of the images; empty for all subsets.
    """

    rows: tuple[str, ...] | None = None
    explainers: tuple[str, ...] | None = None
    attacks: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    accuracies: tuple[str, ...] | None = None
    subset: str = ""

    def networks(self, networks: Sequence[Network]) -> list[Network]:
        """The rows that are shown."""
        if self.rows is None:
            return [*networks]
        known = {network.subject.key: network for network in networks}
        return [known[key] for key in self.rows]

    def places(self, places: Sequence[Place]) -> list[Place]:
        """The groups that are shown, still by scope, and within it by explainer."""
        explainers, attacks = self.explainers, self.attacks
        found = [
            place
            for place in places
            if (explainers is None or place.explainer in ("", *explainers))
            and (attacks is None or place.attack in ("", *attacks))
        ]
        first = explainers or [*dict.fromkeys(place.explainer for place in places)]
        then = attacks or [*dict.fromkeys(place.attack for place in places)]

        def order(place: Place) -> tuple[int, int, int]:
            return SCOPES.index(place.scope), _position(place.explainer, first), _position(place.attack, then)

        return sorted(found, key=order)

    def columns(self, metrics: Sequence[Metric]) -> list[Metric]:
        """The metrics of a group that are shown."""
        if self.metrics is None:
            return [*metrics]
        known = {metric.label: metric for metric in metrics}
        return [known[label] for label in self.metrics if label in known]

    def subsets(self, masks: Mapping[str, Booleans]) -> dict[str, Booleans]:
        """The subsets of the images that are shown."""
        return {name: mask for name, mask in masks.items() if self.subset in ("", name)}

    def has_worst(self, attacks: Iterable[str]) -> bool:
        """Whether worst cases over attacks are shown: over all images, of no attack that is not shown itself."""
        return self.subset in ("", ALL) and (self.attacks is None or {*attacks} <= {*self.attacks})

    def has_verdict(self, attacks: Iterable[str]) -> bool:
        """Whether the verdict of what is shown counts all of its columns."""
        return self.has_worst(attacks) and self.metrics is None

    def has_accuracy(self, metric: Metric) -> bool:
        """Whether an accuracy is shown."""
        return self.accuracies is None or metric.attack in self.accuracies

    def with_accuracies(self, board: Leaderboard) -> Leaderboard:
        """A table with the accuracies that are shown."""
        if self.accuracies is None:
            return board
        attacks = [metric.attack for metric in board.accuracies]
        kept = [attacks.index(attack) for attack in self.accuracies]

        def of(group: Group) -> Group:
            lines = [replace(line, accuracies=tuple(line.accuracies[i] for i in kept)) for line in group.lines]
            means = [replace(mean, accuracies=tuple(mean.accuracies[i] for i in kept)) for mean in group.means]
            return replace(group, lines=tuple(lines), means=tuple(means))

        shown = tuple(board.accuracies[i] for i in kept)
        groups, worst = tuple(map(of, board.groups)), tuple(map(of, board.worst))
        return replace(board, accuracies=shown, groups=groups, worst=worst)


EVERYTHING = Keep()


def _position(label: str, order: Sequence[str]) -> int:
    return order.index(label) if label else 0
