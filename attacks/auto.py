"""A fixed ensemble of attacks that takes the worst result per image and metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Attack, Context, Results
from attrobust.attacks.direct import Direct
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
"""Results kept for each image: the worst by every tracked score, and the last one of every member."""


@register("auto")
@dataclass(frozen=True, kw_only=True)
class Auto(Attack):
    """A fixed ensemble without settings; each metric is scored, image by image, on its worst result of all members.

    In this order, cheapest first:

    1. ``noise``: 5 draws.
    2. ``cosine``, ``topk``, ``spearman``, ``pearson``, ``ssim``: ``direct`` on each score, 50 steps from a random
       start. Each leaves out the images whose score is at its floor already.
    3. ``again``: 50 more steps for each image, from its worst result so far, on its most robust score: the one that
       was lowered by the smallest share of the difference between the clean map and that map mirrored in both axes.
    4. ``search``: ``square`` with 100 queries on the cosine, for images where descents lowered it less than one and a
       half times as much as noise did, since the gradients of their network may be uninformative.

    Every feasible iterate of every member is scored by all five scores and the normalised l2 distance, with their
    default settings: ``topk`` by 10 %, ``normalized-l2`` by l2. The worst by each is kept, and also the last result of
    each member, so that no metric is better on ``auto`` than on a member. Metrics that are not among these, or have
    other settings, are scored on the worst of the 14 images that are kept; a descent on the metric itself may get
    further. An explainer without a derivative is attacked by transfer from the context's surrogate, and a network that
    cannot be smoothed is differentiated as it is.

    Budget, per image, for an explainer of one forward and one backward pass: about 640F + 930B + 300H, and never more
    than ``budget``, 2354F + 1618B + 300H, the cost where every step is shortened. ``AttackOutput.passes`` has the exact
    numbers, including the 16 passes with which each descent, whatever the batch, measures activation displacements.

    Attributes:
        version: of the ensemble; a changed ensemble gets another number.
    """

    version: Literal[1] = 1

    @property
    def follows_gradient(self) -> bool:
        """True, since most members do."""
        return True

    @property
    def most_results(self) -> int:
        """The worst by every tracked score, and the last one of every member."""
        return RESULTS

    @property
    def budget(self) -> Cost:
        """Passes of one image, at most, for an explainer of one forward and one backward pass."""
        descents = len(SCORES) + 1
        visits, steps = descents * (STEPS + 1), descents * STEPS
        # Clean maps are computed once.
        maps = DRAWS + QUERIES + 2 * visits + 1
        return Cost(
            forward=maps + HALVINGS * visits + steps + 2 * PROBES * descents + RESULTS + 2,
            backward=maps + 3 * steps,
            double_backward=steps,
        )

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError for maps smaller than SSIM's window."""
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
            attack = Direct(score=score, steps=STEPS, differentiate=team.differentiate)
            team.work(score, team.board.value[score] > attack.floor, attack.run)
        most_robust = team.most_robust_score()
        for number, score in enumerate(SCORES):
            team.work("again", most_robust == number, team.onward(score))
        little_gained = 1 - team.board.value["cosine"] < GAIN * (1 - by_noise)
        team.work("search", little_gained, Square(score="cosine", queries=QUERIES).run)
        return team.results()


Work = Callable[[Context, Tensor, Tensor], Tensor]
"""A function with the arguments and result of ``Attack.run``."""


class _Team:
    """The members' results on a batch, with a board that records the worst iterate of each image by every score."""

    def __init__(self, context: Context, x: Tensor, y: Tensor) -> None:
        context = context.remembering(x, y)
        self._x, self._y = x, y
        self._scores = {score: Direct(score=score).measure for score in TRACKED}
        self.board = Board(context, x, y, self._scores)
        self._context = replace(context, observer=self.board)
        self.differentiate = _differentiate(context, x)
        self._members: list[str] = []
        self._results: list[Tensor] = []

    def work(self, member: str, rows: Tensor | None, attack: Work) -> None:
        """Run a member on the images chosen by ``rows``, bool[B], or on all of them where it is None."""
        if member not in self._members:
            self._members.append(member)
            self._results.append(self._x.clone())
        number = self.board.member = self._members.index(member)
        chosen = list(range(len(self._x))) if rows is None else rows.nonzero().flatten().tolist()
        if chosen:
            context = self._context.take(chosen)
            self._results[number][chosen] = attack(context, *context.images)

    def onward(self, score: Score) -> Work:
        """A descent on a score from the worst images so far, with smaller steps and a lower temperature."""
        attack = Direct(
            score=score, steps=STEPS, differentiate=self.differentiate, inverse_temperature=1.0, first_step=0.5
        )

        def run(context: Context, x: Tensor, y: Tensor) -> Tensor:
            return attack.descend(context, x, y, self.board.x[score][self.board.rows(context)]).x

        return run

    def most_robust_score(self) -> Tensor:
        """Index in ``SCORES`` of the score that attacks lowered least, int64[B].

        Scores are compared on the scale from 1, that of the clean map with itself, to 0, that with its mirrored copy.
        """
        clean = self.board.clean
        mirrored = clean.flip(1, 2)
        rescaled = []
        for score in SCORES:
            measure = self._scores[score](clean)
            highest, chance = measure(clean), measure(mirrored)
            rescaled.append((self.board.value[score] - chance) / (highest - chance))
        return torch.stack(rescaled).nan_to_num(nan=-torch.inf).argmax(dim=0)

    def results(self) -> Results:
        """The worst images by each tracked score, then the last result of each member."""
        by_score = [self.board.x[score] for score in TRACKED]
        sources = [self.board.source[score] for score in TRACKED]
        sources += [torch.full((len(self._x),), number) for number in range(len(self._members))]
        return Results(images=[*by_score, *self._results], members=tuple(self._members), sources=torch.stack(sources))


def _differentiate(context: Context, x: Tensor) -> Literal["auto", "own"]:
    """``auto``, or ``own`` where the network cannot be smoothed."""
    try:
        # With fixed temperatures no activation displacement is measured.
        Direct(beta=1.0, pool=1.0).differentiated(context, x)
    except ValueError:
        return "own"
    return "auto"
