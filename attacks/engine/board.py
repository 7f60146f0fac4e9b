"""The board: the worst iterate of any attack, for each image and score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective, defined_score

Measure = Callable[[Tensor], Objective]
"""Clean maps B×H×W to the objective against them."""


class Board:
    """An observer that keeps, for every image and score, the feasible iterate of lowest score.

    Args:
        context: of the whole batch, whose ids are all different.
        x: clean images, B×C×H×W, which every entry starts with.
        y: explained classes, int64[B].
        scores: by name, the function from clean maps to the objective.

    Attributes:
        clean: maps of the clean images, B×H×W.
        member: index of the attack that is running; set it before each.
        x: by name of a score, the images, B×C×H×W.
        value: by name, their scores, float[B].
        source: by name, index of the member that each comes from, int64[B]; -1 for the clean image.
    """

    def __init__(self, context: Context, x: Tensor, y: Tensor, scores: Mapping[str, Measure]) -> None:
        self.member = 0
        self._rows = {number: row for row, number in enumerate(context.ids)}
        self._scores = scores
        self._last_objectives: tuple[tuple[int, ...], dict[str, Objective]] = ((), {})
        self.clean = context.maps(x, y).detach()
        self.x = {name: x.clone() for name in scores}
        self.value = {name: measure(self.clean)(self.clean) for name, measure in scores.items()}
        self.source = {name: torch.full((len(x),), -1) for name in scores}

    def rows(self, context: Context) -> Tensor:
        """Rows of the board that a context's images have, int64[B]."""
        return torch.tensor([self._rows[number] for number in context.ids])

    def _objectives(self, place: Tensor) -> Mapping[str, Objective]:
        """The scores against clean maps; the last are cached, since an attack offers the same images in every step."""
        key = tuple(place.tolist())
        if self._last_objectives[0] != key:
            self._last_objectives = key, {name: measure(self.clean[place]) for name, measure in self._scores.items()}
        return self._last_objectives[1]

    def __call__(self, context: Context, x: Tensor, maps: Tensor, feasible: Tensor) -> None:
        """See ``attacks.base.Observer``."""
        rows = self.rows(context)
        for part in _without_repetition(rows, feasible.cpu()):
            place, images, their_maps = rows[part], x[part], maps[part]
            for name, objective in self._objectives(place).items():
                value = defined_score(objective, their_maps).nan_to_num(nan=torch.inf)
                lower = (value < self.value[name][place]).cpu()
                improved = place[lower]
                self.x[name][improved] = images[lower]
                self.value[name][improved] = value[lower].to(self.value[name])
                self.source[name][improved] = self.member


def _without_repetition(rows: Tensor, feasible: Tensor) -> Iterator[Tensor]:
    """Positions of the feasible images, in parts in which no image occurs twice."""
    seen: dict[int, int] = {}
    turn = torch.zeros_like(rows)
    for position, row in enumerate(rows.tolist()):
        turn[position] = seen[row] = seen.get(row, -1) + 1
    for number in range(int(turn.max()) + 1 if len(turn) else 0):
        part = (feasible & (turn == number)).nonzero().flatten()
        if len(part):
            yield part
