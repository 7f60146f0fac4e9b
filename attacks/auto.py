"""A fixed ensemble of attacks that takes the worst result per image and metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from attrobust.attacks.engine.score_names import score_of_metric, score_settings
from attrobust.attacks.noise import Noise
from attrobust.attacks.square import Square
from attrobust.types import Cost, Named

DRAWS, QUERIES, GAIN = 5, 100, 1.5
ROUGH, FINE = 120, 80
"""Steps of the two halves of a descent. Of networks of AGA, 150 + 50 did best on digits, 100 + 100 on Fashion-MNIST."""
DESCENDED: tuple[str, ...] = ("cosine", "topk", "spearman")
TRACKED: tuple[str, ...] = (*DESCENDED, "pearson", "ssim", "normalized-l2")


@register("auto")
@dataclass(frozen=True, kw_only=True)
class Auto(Attack):
    """A fixed ensemble; each metric is scored, image by image, on its worst result of all members.

    In this order, cheapest first:

    1. ``noise``: 5 draws.
    2. ``cosine``, ``topk``, ``spearman``, and the scores of ``also``: ``direct`` on each score. 120 steps from a random
       start, the first of 4 eps, are followed by 80 from the best point so far, the first of half an eps, which
       differentiate a model that is smoothed less. Each leaves out the images whose score is at its floor already. A
       run sets ``also`` to those of its metrics that can be descended and are not among the three.
    3. ``search``: ``square`` with 100 queries on the cosine, for images where descents lowered it less than one and a
       half times as much as noise did, since the gradients of their network may be uninformative.

    Every feasible iterate of every member is scored by cosine, top-k intersection, Spearman's and Pearson's
    correlation, SSIM and normalised l2 distance, with their default settings, and by the scores of ``also``. The worst
    by each is kept, and also the last result of each member, so that no metric is better on ``auto`` than on a member.
    Metrics that are not among these are scored on the worst of the images that are kept. An explainer without a
    derivative is attacked by transfer from the context's surrogate, and a network that cannot be smoothed is
    differentiated as it is.

    Budget, per image, for an explainer of one forward and one backward pass: about 1260F + 1860B + 600H, and never more
    than ``budget``, 4451F + 3118B + 600H, the cost where every step is shortened. ``AttackOutput.passes`` has the exact
    numbers, including the 16 passes with which each half of a descent, whatever the batch, measures activation
    displacements.

    Attributes:
        also: further scores to be descended, joined by ``+``: ``pearson``, ``ssim``, ``kendall``, and with a setting
            ``topk-5%``, ``topk-100`` and ``normalized-l2-sum``; ``none`` for no further ones.
        version: of the ensemble; a changed ensemble gets another number. Version 1 had descents of 50 steps, on five
            scores whatever the run asked for.
    """

    also: str = "none"
    version: Literal[2] = 2

    def __post_init__(self) -> None:
        for index, name in enumerate(self.scores):
            _direct(name)
            if name in self.scores[:index]:
                raise ValueError(f"{name} in also is descended anyway")

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that are descended."""
        return DESCENDED if self.also == "none" else (*DESCENDED, *self.also.split("+"))

    @property
    def tracked(self) -> tuple[str, ...]:
        """Names of the scores whose worst images are kept."""
        return tuple(dict.fromkeys((*TRACKED, *self.scores)))

    def aimed_at(self, metrics: Sequence[Named]) -> Auto:
        """This ensemble, which also descends those of the metrics that are scores; see ``Attack.aimed_at``.

        The normalised l2 distance by l2 is not added: it is lowest where the cosine is highest.
        """
        names = {score_of_metric(metric) for metric in metrics} - {"", "normalized-l2", *self.scores}
        return replace(self, also="+".join([*self.scores[len(DESCENDED) :], *sorted(names)])) if names else self

    @property
    def follows_gradient(self) -> bool:
        """True, since most members do."""
        return True

    @property
    def most_results(self) -> int:
        """The worst by every tracked score, and the last one of every member."""
        return len(self.tracked) + len(self.scores) + 2

    @property
    def budget(self) -> Cost:
        """Passes of one image, at most, for an explainer of one forward and one backward pass."""
        descents = len(self.scores)
        visits, steps = descents * (ROUGH + FINE + 2), descents * (ROUGH + FINE)
        # Clean maps are computed once.
        maps = DRAWS + QUERIES + 2 * visits + 1
        return Cost(
            forward=maps + HALVINGS * visits + steps + 4 * PROBES * descents + self.most_results + 2,
            backward=maps + 3 * steps,
            double_backward=steps,
        )

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError for maps smaller than SSIM's window, or of no more pixels than a k."""
        for name in self.tracked:
            _direct(name).check_size(height, width)

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``: the images of lowest cosine."""
        return self.results(context, x, y).images[0]

    def results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        """See ``Attack.results``: for each score the worst images, then the result of each member."""
        team = _Team(context, x, y, self.tracked)
        team.work("noise", None, Noise(draws=DRAWS).run)
        by_noise = team.board.value["cosine"].clone()
        for name in self.scores:
            lowerable = team.board.value[name] > _direct(name).floor
            team.work(name, lowerable, descent(name, team.differentiate))
        little_gained = 1 - team.board.value["cosine"] < GAIN * (1 - by_noise)
        team.work("search", little_gained, Square(score="cosine", queries=QUERIES).run)
        return team.results()


def _direct(name: str) -> Direct:
    """A descent on the score of a name."""
    return Direct(**score_settings(name))


Work = Callable[[Context, Tensor, Tensor], Tensor]
"""A function with the arguments and result of ``Attack.run``."""


def descent(name: str, differentiate: Literal["auto", "own"] = "auto") -> Work:
    """The member of ``auto`` that descends the score of a name."""
    rough = replace(_direct(name), steps=ROUGH, first_step=4.0, differentiate=differentiate)
    fine = replace(rough, steps=FINE, first_step=0.5, inverse_temperature=1.0)

    def run(context: Context, x: Tensor, y: Tensor) -> Tensor:
        return fine.descend(context, x, y, rough.run(context, x, y)).x

    return run


class _Team:
    """The members' results on a batch, with a board that records the worst iterate of each image by every score."""

    def __init__(self, context: Context, x: Tensor, y: Tensor, tracked: Sequence[str]) -> None:
        context = context.remembering(x, y)
        self._x, self._y = x, y
        self._tracked = tracked
        self.board = Board(context, x, y, {name: _direct(name).measure for name in tracked})
        self._context = replace(context, observer=self.board)
        self.differentiate = _differentiate(context, x)
        self._members: list[str] = []
        self._results: list[Tensor] = []

    def work(self, member: str, rows: Tensor | None, attack: Work) -> None:
        """Run a member on the images chosen by ``rows``, bool[B], or on all of them where it is None."""
        self.board.member = len(self._members)
        result = self._x.clone()
        chosen = list(range(len(self._x))) if rows is None else rows.nonzero().flatten().tolist()
        if chosen:
            context = self._context.take(chosen)
            result[chosen] = attack(context, *context.images)
        self._members.append(member)
        self._results.append(result)

    def results(self) -> Results:
        """The worst images by each tracked score, then the last result of each member."""
        by_score = [self.board.x[score] for score in self._tracked]
        sources = [self.board.source[score] for score in self._tracked]
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
