"""The worst that any attack has found for each image, score by score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective, defined_score
from attrobust.attacks.engine.scored import Score

Measure = Callable[[Tensor], Objective]
"""Clean maps B×H×W to the objective against them."""


class Board:
    """An observer that keeps, for every image and score, the legal iterate of lowest score it is shown.

    Args:
        context: of the whole batch, whose ids are all different.
        x: clean images, B×C×H×W, which every entry starts with.
        y: explained classes, int64[B].
        scores: what makes the objective of each, of clean maps.

    Attributes:
        clean: maps of the clean images, B×H×W.
        member: number of the attack that is at work; set it before each.
        x: by name of a score, the images, B×C×H×W.
        value: by name, their scores, float[B].
        source: by name, the member that found each, int64[B]; -1 where nobody found anything.
    """

    def __init__(self, context: Context, x: Tensor, y: Tensor, scores: Mapping[Score, Measure]) -> None:
        self.member = 0
        self._rows = {number: row for row, number in enumerate(context.ids)}
        self._scores = scores
        self._known: tuple[tuple[int, ...], dict[Score, Objective]] = ((), {})
        self.clean = context.maps(x, y).detach()
        self.x = {name: x.clone() for name in scores}
        self.value = {name: measure(self.clean)(self.clean) for name, measure in scores.items()}
        self.source = {name: torch.full((len(x),), -1) for name in scores}

    def rows(self, context: Context) -> Tensor:
        """Places on the board of the images of a context, int64[B]."""
        return torch.tensor([self._rows[number] for number in context.ids])

    def _objectives(self, place: Tensor) -> Mapping[Score, Objective]:
        """The scores against clean maps; kept, since an attack shows the same images again and again."""
        key = tuple(place.tolist())
        if self._known[0] != key:
            self._known = key, {name: measure(self.clean[place]) for name, measure in self._scores.items()}
        return self._known[1]

    def __call__(self, context: Context, x: Tensor, maps: Tensor, legal: Tensor) -> None:
        """See ``attacks.base.Observer``."""
        rows = self.rows(context)
        for part in _without_repetition(rows, legal.cpu()):
            place, images, shown = rows[part], x[part], maps[part]
            for name, objective in self._objectives(place).items():
                value = defined_score(objective, shown).nan_to_num(nan=torch.inf)
                lower = (value < self.value[name][place]).cpu()
                found = place[lower]
                self.x[name][found] = images[lower]
                self.value[name][found] = value[lower].to(self.value[name])
                self.source[name][found] = self.member


def _without_repetition(rows: Tensor, legal: Tensor) -> Iterator[Tensor]:
    """Positions of the legal images, in parts in which no image occurs twice."""
    seen: dict[int, int] = {}
    turn = torch.zeros_like(rows)
    for position, row in enumerate(rows.tolist()):
        turn[position] = seen[row] = seen.get(row, -1) + 1
    for number in range(int(turn.max()) + 1 if len(turn) else 0):
        part = (legal & (turn == number)).nonzero().flatten()
        if len(part):
            yield part
