"""A query attack on the signs of the perturbation, block by block: SignHunter on explanations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor
from tqdm import trange

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.feasible import BestFeasible
from attrobust.attacks.engine.scored import Scored
from attrobust.attacks.engine.waves import low_frequency
from attrobust.maps.seeds import ImageStreams
from attrobust.naming.checks import at_least, not_negative

STEP = 0.25
"""First step of the descent as a share of eps; it shrinks linearly."""


@register("sign-hunter")
@dataclass(frozen=True, kw_only=True)
class SignHunter(Scored):
    """Lowest score by flipping signs of the perturbation block by block, a black-box attack that only queries maps.

    This is SignHunter (arXiv 1902.06894, algorithm 2) on blocks of images. Every pixel is moved by +eps or -eps. A
    query flips the signs of one channel in one block, and the flip is kept where the score falls and the image is
    feasible. The blocks are the 2×2 parts of the image, then 4×4, 8×8 and so on to single pixels, and then 2×2 again.

    Two things differ from the paper. The search starts at the best of a few random patterns of low frequency (arXiv
    1809.08758): the signs of sums of cosine waves. And blocks of one size are tried in random order. For l2, patterns
    are scaled to length eps.

    Attributes:
        queries: maps computed per image.
        patterns: of these, random patterns that are tried first.
        waves: frequencies of the patterns along each side of the image.
        descent: steps of steepest descent before that, on the score of the surrogate's maps, or of the explainer's own
            where it needs no surrogate; the start and every step are queries. 0 takes no derivative.
    """

    queries: int = 1000
    patterns: int = 10
    waves: int = 4
    descent: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "queries", "patterns", "waves")
        not_negative(self, "descent")

    @property
    def follows_gradient(self) -> bool:
        """Whether there is a descent."""
        return self.descent > 0

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where an image has fewer frequencies than ``waves``, and as ``Scored.check_size``."""
        super().check_size(height, width)
        if self.waves > min(height, width):
            raise ValueError(f"waves={self.waves} is more than the frequencies of {height}×{width} images")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        context = context.remembering(x, y)
        threat, streams = context.threat, context.streams("sign-hunter")
        best = BestFeasible(context, x, y, self.objective(context, x, y))
        pattern, score = torch.zeros_like(x), torch.full_like(best.score, torch.inf)

        def keep(candidate: Tensor, found: Tensor) -> None:
            """Go on from patterns of lower score, and from any where none so far was feasible."""
            nonlocal pattern, score
            pattern = torch.where(((found < score) | score.isinf()).view(-1, 1, 1, 1), candidate, pattern)
            score = torch.minimum(score, found)

        left, flipped = self.queries, blocks(x, streams)
        for point, maps, logits in islice(self._descended(context, x, y), self.queries):
            keep((point - x) / max(threat.eps, torch.finfo(x.dtype).tiny), best.offer(point, maps, logits))
            left -= 1
        coefficients = x.new_empty(len(x), x.shape[1], self.waves, self.waves)
        for query in trange(left, desc="queries", leave=False, disable=None):
            if query < self.patterns:
                candidate = low_frequency(streams.normal(coefficients), x).sign()
            else:
                candidate = torch.where(next(flipped), -pattern, pattern)
            keep(candidate, best.offer(threat.scatter(x, candidate)))
        return best.x

    def _descended(
        self, context: Context, x: Tensor, y: Tensor
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """The points of the descent, with maps and logits where these are known."""
        if not self.descent:
            return
        threat, descent = context.threat, Direct(score=self.score, k=self.k, by=self.by, steps=self.descent)
        source = descent.source(context)
        objective = descent.guide(source, x, y) or descent.objective(source, x, y)

        def update(current: Tensor, gradient: Tensor, iteration: int) -> Tensor:
            size = STEP * threat.eps * (1 - iteration / self.descent)
            return threat.project(x, current - size * threat.direction(gradient))

        start = threat.scatter(x, context.streams("start").uniform(x))
        yield from descent.iterates(context, start, y, lambda maps, _: objective(maps), update)


def blocks(x: Tensor, streams: ImageStreams) -> Iterator[Tensor]:
    """Blocks of ever smaller size, each of one channel, those of one size in random order; without end.

    Args:
        x: images, B×C×H×W.
        streams: random numbers.

    Yields:
        bool B×C×H×W, True inside the block of each image.
    """
    channels, height, width = x.shape[1:]
    levels = max(1, (max(height, width) - 1).bit_length())
    for level in cycle(range(1, levels + 1)):
        down, across = (torch.arange(side, device=x.device) * min(2**level, side) // side for side in (height, width))
        number = down[:, None] * (across[-1] + 1) + across
        per_channel = int(number[-1, -1]) + 1
        channel = torch.arange(channels, device=x.device)[:, None, None]
        for chosen in streams.uniform(x.new_empty(len(x), channels * per_channel)).argsort(dim=1).T:
            yield channel * per_channel + number == chosen.view(-1, 1, 1, 1)
