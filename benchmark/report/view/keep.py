"""Which rows, blocks and columns of a table are shown; images stay those of the whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attrobust.arrays import Booleans
from attrobust.benchmark.report.records import Network, Place
from attrobust.benchmark.report.table import Group, Leaderboard, Metric
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
        """The groups that are shown, still by scope."""
        explainers, attacks = self.explainers, self.attacks
        found = [
            place
            for place in places
            if (explainers is None or place.explainer in ("", *explainers))
            and (attacks is None or place.attack in ("", *attacks))
        ]
        return sorted(found, key=lambda place: (SCOPES.index(place.scope), *_orders(self, place)))

    def columns(self, metrics: Sequence[Metric]) -> list[Metric]:
        """The metrics of a group that are shown."""
        if self.metrics is None:
            return [*metrics]
        known = {metric.label: metric for metric in metrics}
        return [known[label] for label in self.metrics if label in known]

    def subsets(self, masks: Mapping[str, Booleans]) -> dict[str, Booleans]:
        """The subsets of the images that are shown."""
        return {name: mask for name, mask in masks.items() if self.subset in ("", name)}

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
        return replace(board, accuracies=shown, groups=tuple(map(of, board.groups)))


EVERYTHING = Keep()


def _orders(keep: Keep, place: Place) -> tuple[int, int]:
    """Positions of a place's explainer and attack among those that are asked for."""
    return _position(place.explainer, keep.explainers), _position(place.attack, keep.attacks)


def _position(label: str, asked: tuple[str, ...] | None) -> int:
    return asked.index(label) if asked and label else 0
