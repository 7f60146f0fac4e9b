"""The attacks of ART, Singh et al., ECCV 2020: on the top k, and on the alignment of map and image."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.published.path import OnPath
from attrobust.attacks.published.variants import ByVariant, by_variant
from attrobust.networks.smoothed import input_mean, input_scale
from attrobust.types import Amount


@register("art")
@dataclass(frozen=True, kw_only=True)
class Art(OnPath):
    """Least mass on the clean map's top k, or least cosine between map and image (arXiv 1911.13073).

    The loss ``topk`` is that of ``ifia`` from a random start, and the point kept is that of lowest Kendall's tau on the
    k pixels alone. ``alignment`` lowers the cosine between the attacked map and the clean image, normalised and with
    its channels taken together as the map's are, over the same pixels.

    ``variant=paper`` takes the official steps of a softplus of 50, see ``published.path``. Its ``alignment`` is the
    attack that ART trains with: from a random start it raises ``log(1 + exp(d(x', g_y) - d(x', g_r)))``, d one minus
    the cosine between the normalised image and the pixel gradients of the logits of class y and of the most likely
    other, over those k coordinates in all channels that are largest in g_y at the start, and returns the last iterate,
    whatever is predicted there. The map of the other class is not scored, so the corrected form uses only the map of y.

    Attributes:
        loss: ``topk`` or ``alignment``.
        k: pixels of the map, a count or a percentage; of the official alignment, coordinates in all channels.
        steps, step: the official code takes 50 steps of 1/255, or 3 of 5/255 for ``alignment``.
        points: of the official integral.
        beta, pool, growth: see ``published.ghorbani.Ghorbani``; the official code has a softplus of 50.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    loss: Literal["topk", "alignment"] = "topk"
    k: Amount = by_variant(corrected=Amount(10, percent=True), paper=Amount(10, percent=True))
    steps: int = by_variant(corrected=50, paper=50)
    step: float = by_variant(corrected=1 / 255, paper=1 / 255)
    beta: float | None = by_variant(corrected=None, paper=50.0)

    masked: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.variant == "paper" and self.loss == "alignment":
            own = {"k": Amount(32.55, percent=True), "steps": 3, "step": 5 / 255}
            for name, value in own.items():
                if isinstance(getattr(self, name), ByVariant):
                    object.__setattr__(self, name, value)
        super().__post_init__()

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Published.without_effect``."""
        return super().without_effect | (frozenset({"points"}) if self.loss == "alignment" else frozenset())

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Kendall's tau-b on the clean map's top k, or cosine with the image there."""
        if self.loss == "topk":
            return super().objective(context, x, y)
        top = self._top(context.maps(x, y))
        image = context.reduce(_normalised(context, x)) * top
        return lambda maps: F.cosine_similarity((maps * top).flatten(1), image.flatten(1), dim=1, eps=1e-30)

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:
        """Share of mass, for ``topk``."""
        return super().guide(context, x, y) if self.loss == "topk" else None

    def start(self, context: Context, x: Tensor) -> Tensor:
        """A random point of the ball."""
        return context.threat.scatter(x, context.streams("start").uniform(x))

    def official(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Published.official``."""
        if self.loss == "topk":
            return super().official(context, x, y)
        return deque(self.misaligned(context, x, y, self.start(context, x)), maxlen=1).pop()

    def misaligned(self, context: Context, x: Tensor, y: Tensor, start: Tensor) -> Iterator[Tensor]:
        """Every point of the official alignment attack, the start and the last included.

        Args:
            context: network and rules.
            x: clean images.
            y: classes.
            start: points of the ball, B×C×H×W.
        """
        smoothed = self.differentiated(self.situation(context), x).network

        def gradients(network: torch.nn.Module, attached: Tensor) -> Iterator[Tensor]:
            """Gradients of both logits, each B×D."""
            logits = network(attached)
            other = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
            for logit in (logits.gather(1, y[:, None]), other):
                (gradient,) = torch.autograd.grad(logit.sum(), attached, create_graph=True)
                yield gradient.flatten(1)

        first = next(gradients(context.model, start.detach().requires_grad_()))
        top = first.detach().abs().topk(self.k.of(first.shape[1]), dim=1).indices
        current = start
        yield current
        for _ in range(self.steps):
            attached = current.detach().requires_grad_()
            image = _normalised(context, attached).flatten(1).gather(1, top)
            near, far = (1 - F.cosine_similarity(image, g.gather(1, top), dim=1) for g in gradients(smoothed, attached))
            (ascent,) = torch.autograd.grad(F.softplus(near - far).sum(), attached)
            current = context.threat.project(x, current + self.step * ascent.sign())
            yield current


def _normalised(context: Context, x: Tensor) -> Tensor:
    return (x - input_mean(context.model)) / input_scale(context.model)
