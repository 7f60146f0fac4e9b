"""A sample of the cells of a board: always the same one, spread over networks, explainers and attacks. No torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from attrobust.benchmark.boards.published import named
from attrobust.benchmark.store.contests import key_of, standing
from attrobust.benchmark.store.plan import SubjectEntry
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.naming.spec import fingerprint

CHEAP = 5.0
"""Seconds of the run in which clean accuracy is computed again."""


@dataclass(frozen=True, kw_only=True)
class StoredCell:
    """A cell on disk, with all of its metrics.

    Attributes:
        store: of its run.
        run: words that tell it from the other runs of a sweep.
        subject: its network, as the table has it.
        explainer, attack: labels; empty where there is none.
        rows: as the run wrote them, one for each metric.
        standing: as tables show them: the same, or the last contest of each.
    """

    store: Store
    run: str
    subject: SubjectEntry
    explainer: str
    attack: str
    rows: tuple[ScoredRow, ...]
    standing: tuple[ScoredRow, ...]

    @property
    def key(self) -> str:
        """Fingerprint of the cell and its run: the order of the sample."""
        return fingerprint([self.run, asdict(self.rows[0].cell), [row.metric.name for row in self.rows]])

    @property
    def images(self) -> int:
        """How many it was evaluated on."""
        return self.rows[0].n

    def __str__(self) -> str:
        scope = self.rows[0].metric.scope
        what = [] if self.explainer and self.attack else [scope]
        return " / ".join(filter(None, [self.run, named(self.subject), self.explainer, self.attack, *what]))

    def chosen(self, images: int) -> range:
        """Positions of the images that are computed again, some in a row.

        Args:
            images: at most so many. It is a whole batch where the attack depends on it. Of clean accuracy, a few hits
                of which say little, it is all that take at most ``CHEAP`` seconds.
        """
        batch = self.rows[0].cell.batch_size
        if batch:
            return range(min(batch, self.images))
        count = min(max(images, self._cheap), self.images)
        number = int(hashlib.sha256(self.key.encode()).hexdigest()[:8], 16)
        start = number % (self.images - count + 1)
        return range(start, start + count)

    @property
    def _cheap(self) -> int:
        """Of clean accuracy, how many images take little time; none of other cells."""
        row = self.rows[0]
        if row.metric.scope != "accuracy" or row.cell.attack:
            return 0
        return int(self.images * min(1.0, CHEAP / max(row.seconds, CHEAP)))

    def seconds(self, images: int) -> float:
        """How long it takes, by the time that it took when it was written."""
        return self.rows[0].seconds * len(self.chosen(images)) / max(1, self.images)


def cells_of(stores: dict[str, Store]) -> list[StoredCell]:
    """Every cell with scores that tables show and that can be computed again without training, once.

    A sanity-check baseline shares cells, such as the accuracy, with the network that it is made of.
    """
    found: dict[tuple[str, int, str, str, str], list[tuple[ScoredRow, ScoredRow]]] = {}
    places: dict[tuple[str, int, str, str, str], SubjectEntry] = {}
    for words, store in stores.items():
        plan, written = store.plan(), store.rows()
        current = standing(written)
        for entry in plan.entries:
            row = current.get(entry.row)
            if not isinstance(row, ScoredRow) or row.metric.scope == "training":
                continue
            base = written[key_of(row)]
            if isinstance(base, ScoredRow):
                key = (words, entry.subject, entry.explainer, entry.attack, row.metric.scope)
                found.setdefault(key, []).append((base, row))
                places[key] = plan.subjects[entry.subject]
    cells = [
        StoredCell(
            store=stores[key[0]],
            run=key[0],
            subject=places[key],
            explainer=key[2],
            attack=key[3],
            rows=tuple(base for base, _ in pairs),
            standing=tuple(row for _, row in pairs),
        )
        for key, pairs in found.items()
    ]
    return [*{cell.key: cell for cell in reversed(cells)}.values()][::-1]


def sample(cells: Sequence[StoredCell], count: int, images: int) -> list[StoredCell]:
    """Some of the cells, each adding what was looked at least so far; of equally new ones the cheapest.

    Contested cells come first, since what stands there rests on images that somebody handed in.

    Args:
        cells: to choose from.
        count: how many; all where there are fewer.
        images: of each, see ``StoredCell.chosen``.
    """
    seen: Counter[tuple[str, str]] = Counter()
    costs = {cell.key: cell.seconds(images) for cell in cells}
    left, taken = {cell.key: cell for cell in cells}, list[StoredCell]()
    while left and len(taken) < count:
        _, _, key = min((_novelty(cell, seen), costs[key], key) for key, cell in left.items())
        taken.append(left.pop(key))
        seen.update(_facets(taken[-1]))
    return taken


def _facets(cell: StoredCell) -> list[tuple[str, str]]:
    """What a sample is spread over."""
    what = cell.attack if cell.explainer or cell.attack else ""
    return [
        ("network", named(cell.subject)),
        ("explainer", cell.explainer),
        ("attack", f"{what} of {cell.rows[0].metric.scope}"),
        ("run", cell.run),
    ]


def _novelty(cell: StoredCell, seen: Counter[tuple[str, str]]) -> tuple[bool, int]:
    contested = any(row.contests for row in cell.standing)
    # Sanity-check baselines are cheap and say the least.
    return not contested, sum(seen[facet] for facet in _facets(cell)) + 2 * cell.subject.baseline
