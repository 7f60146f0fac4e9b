"""One fixed ensemble for every network: the worst of many attacks, image by image and metric by metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Attack, Context, Results
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.adaptive import schedule
from attrobust.attacks.engine.board import Board
from attrobust.attacks.engine.differentiated import PROBES
from attrobust.attacks.engine.feasible import HALVINGS
from attrobust.attacks.engine.scored import Score
from attrobust.attacks.noise import Noise
from attrobust.attacks.square import Square
from attrobust.types import Cost

DRAWS, STEPS, QUERIES, GAIN = 5, 50, 100, 1.5
SCORES: tuple[Score, ...] = ("cosine", "topk", "spearman", "pearson", "ssim")
TRACKED: tuple[Score, ...] = (*SCORES, "normalized-l2")
RESULTS = len(TRACKED) + len(SCORES) + 3
"""Images that are kept of each: the worst by every score, and what every member ended with."""


@register("auto")
@dataclass(frozen=True, kw_only=True)
class Auto(Attack):
    """Fixed attacks without settings; a metric is scored, image by image, on the worst of what they found for it.

    In this order, cheapest first:

    1. ``noise``: 5 draws.
    2. ``cosine``, ``topk``, ``spearman``, ``pearson``, ``ssim``: ``direct`` on each score, 50 steps from a random
       start. Each leaves out the images whose score is at its floor already.
    3. ``again``: 50 steps more for each image, from the worst image so far, on the score that holds best: the one that
       has come the smallest part of the way from the clean map to a map with the same values elsewhere.
    4. ``search``: ``square`` with 100 queries on the cosine, for images where descents lowered it less than one and a
       half times as much as noise did: the gradients of their network may say nothing.

    Every legal iterate of all of them is scored by all five scores and the normalised l2 distance, with their default
    settings: ``topk`` by 10 %, ``normalized-l2`` by l2. For each the worst is kept, and besides the last result of each
    attack, so that no metric is better on ``auto`` than on a member. Metrics that are not among these, or have other
    settings, are scored on the worst of the 14 images that are kept, and a descent of their own may get further. An
    explainer without a derivative is descended by transfer from the context's surrogate, and a network that no smooth
    view can be made of is differentiated as it is.

    Budget, per image, for an explainer of one forward and one backward pass: about 660F + 950B + 300H, and never more
    than ``budget``, 3341F + 1837B + 300H, were every step to be shortened. ``AttackOutput.passes`` has the exact
    numbers, the 16 passes included that each descent takes, whatever the batch, to tell how far the ball reaches.

    Attributes:
        version: of the ensemble; a later one is another number.
    """

    version: Literal[1] = 1

    @property
    def follows_gradient(self) -> bool:
        """True of most of its members."""
        return True

    @property
    def budget(self) -> Cost:
        """Passes of one image, at most, for an explainer of one forward and one backward pass."""
        descents = len(SCORES) + 1
        visits, steps = descents * (STEPS + 1), descents * STEPS
        # Clean maps, for a walk and for those that go on with fewer images: of objective, guide, best and board.
        clean = 4 * descents * (1 + len(schedule(STEPS))) + 4
        maps = DRAWS + QUERIES + 2 * visits + clean
        return Cost(
            forward=maps + HALVINGS * visits + steps + 2 * PROBES * descents * (1 + len(schedule(STEPS))) + RESULTS + 2,
            backward=maps + 3 * steps,
            double_backward=steps,
        )

    def check_size(self, height: int, width: int) -> None:
        """SSIM needs room for its window."""
        for score in SCORES:
            Direct(score=score).check_size(height, width)

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``: the images of lowest cosine."""
        return self.results(context, x, y).images[0]

    def results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        """See ``Attack.results``: for each score the worst images, then the result of each member."""
        team = _Team(context, x, y)
        team.work("noise", None, Noise(draws=DRAWS).run)
        by_noise = team.board.value["cosine"].clone()
        for score in SCORES:
            attack = Direct(score=score, steps=STEPS, view=team.view)
            team.work(score, team.board.value[score] > attack.floor, attack.run)
        held = team.most_held()
        for number, score in enumerate(SCORES):
            team.work("again", held == number, team.onward(score))
        undone = 1 - team.board.value["cosine"] < GAIN * (1 - by_noise)
        team.work("search", undone, Square(score="cosine", queries=QUERIES).run)
        return team.results()


Work = Callable[[Context, Tensor, Tensor], Tensor]
"""Like ``Attack.run``."""


class _Team:
    """Members that work on parts of a batch while a board watches."""

    def __init__(self, context: Context, x: Tensor, y: Tensor) -> None:
        self._x, self._y = x, y
        self._scores = {score: Direct(score=score).measure for score in TRACKED}
        self.board = Board(context, x, y, self._scores)
        self._context = replace(context, observer=self.board)
        self.view = _view(context, x)
        self._members: list[str] = []
        self._results: list[Tensor] = []

    def work(self, member: str, rows: Tensor | None, attack: Work) -> None:
        """Let a member attack some of the images, bool[B]; all of them where that is None."""
        if member not in self._members:
            self._members.append(member)
            self._results.append(self._x.clone())
        number = self.board.member = self._members.index(member)
        chosen = list(range(len(self._x))) if rows is None else rows.nonzero().flatten().tolist()
        if chosen:
            context = self._context.take(chosen)
            self._results[number][chosen] = attack(context, self._x[chosen], self._y[chosen])

    def onward(self, score: Score) -> Work:
        """A descent on a score from the worst images found so far, with smaller steps and sharper from the start."""
        attack = Direct(score=score, steps=STEPS, view=self.view, sharpness=1.0, first_step=0.5)

        def run(context: Context, x: Tensor, y: Tensor) -> Tensor:
            return attack.descend(context, x, y, self.board.x[score][self.board.rows(context)]).x

        return run

    def most_held(self) -> Tensor:
        """Number of the score of ``SCORES`` that each image holds best, int64[B]."""
        clean = self.board.clean
        elsewhere = clean.flip(1, 2)
        left = []
        for score in SCORES:
            measure = self._scores[score](clean)
            best, chance = measure(clean), measure(elsewhere)
            left.append((self.board.value[score] - chance) / (best - chance))
        return torch.stack(left).nan_to_num(nan=-torch.inf).argmax(dim=0)

    def results(self) -> Results:
        """Everything that was found."""
        by_score = [self.board.x[score] for score in TRACKED]
        sources = [self.board.source[score] for score in TRACKED]
        sources += [torch.full((len(self._x),), number) for number in range(len(self._members))]
        return Results(images=[*by_score, *self._results], members=tuple(self._members), sources=torch.stack(sources))


def _view(context: Context, x: Tensor) -> Literal["auto", "own"]:
    """Smooth where the network allows it."""
    try:
        # At a given sharpness nothing has to be measured.
        Direct(beta=1.0, pool=1.0).differentiated(context, x)
    except ValueError:
        return "own"
    return "auto"
