"""What each metric is given of a batch: cases of its own, so that no metric can change another's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Context
from attrobust.explainers.base import Explainer
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.shared.case import Case
from attrobust.networks.copying import independent_copy
from attrobust.places import ours
from attrobust.process import seeded

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


class ExplanationError(RuntimeError):
    """The explainer failed on images that all metrics need the maps of."""


class Cases:
    """The cases of a batch.

    Maps of the images that are common to all metrics are computed once. Every metric gets copies of images and maps;
    one of a plug-in gets a copy of the network too.

    Args:
        scored: the network in the precision of scores, see ``scored_copy``.
        explain: attributions for scoring, see ``explaining``, or ``unexplained``.
        context: of the batch.
        x: clean images, B×C×H×W.
        y: the explained classes, int64[B].
        results: of the attack, each B×C×H×W; none where there is no attack.
        masks: object masks of the images, bool B×H×W; None where the dataset has none.
    """

    def __init__(
        self,
        scored: nn.Module,
        explain: Explain,
        context: Context,
        x: Tensor,
        y: Tensor,
        *,
        results: Sequence[Tensor] = (),
        masks: Tensor | None = None,
    ) -> None:
        like = next(scored.parameters())
        self._scored, self._context, self._target, self._masks = scored, context, y, masks
        self._clean, self._partners, *self._results = (images.to(like) for images in (x, context.partners, *results))
        self._explain_with = explain
        fixed = [self._clean, self._partners, *self._results]
        self._explain = _Remembering(functools.partial(explain, scored), fixed, y)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cases for a metric, and of images in each."""
        return max(1, len(self._results)), len(self._clean)

    def of(self, metric: CaseMetric) -> list[Case]:
        """A case for each result of the attack; one of clean images alone where there is no attack."""
        if not self._results:
            return [self._case(metric, None)]
        return [self._case(metric, result) for result in self._results]

    def _case(self, metric: CaseMetric, result: Tensor | None) -> Case:
        clean, context = self._clean.clone(), self._context
        return Case(
            model=self._scored if ours(type(metric)) else independent_copy(self._scored),
            clean=clean,
            attacked=clean if result is None else result.clone(),
            target=self._target.clone(),
            explain=self._explain,
            explain_with=self._explain_with,
            reduce=context.reduce,
            partners=self._partners.clone(),
            seed=context.seed,
            ids=[*context.ids],
            masks=None if self._masks is None else self._masks.to(clean.device, copy=True),
        )


class _Remembering:
    """Attributions of any images, each time as another tensor; those of ``fixed`` images are computed once."""

    def __init__(self, explain: Callable[[Tensor, Tensor], Tensor], fixed: Sequence[Tensor], target: Tensor) -> None:
        self._explain, self._fixed, self._target = explain, fixed, target
        self._known: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Signed attributions B×C×H×W of images B×C×H×W and classes int64[B].

        Raises:
            ExplanationError: the explainer failed on fixed images and their target.
        """
        # By value: a metric has copies of the images, and may have changed them.
        images = next((images for images in self._fixed if _equal(images, x)), None)
        if images is None:
            return self._explain(x, y)
        for explained, classes, maps in self._known:
            if explained is images and _equal(classes, y):
                return maps.clone()
        try:
            maps = self._explain(images, y.clone())
        except Exception as error:
            if not _equal(self._target, y):
                raise
            raise ExplanationError(f"the explainer failed: {type(error).__name__}: {error}") from error
        self._known.append((images, y.clone(), maps))
        return maps.clone()


def _equal(a: Tensor, b: Tensor) -> bool:
    alike = isinstance(b, Tensor) and (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)
    return alike and torch.equal(a, b)


def explaining(explainer: Explainer, seed: int) -> Explain:
    """Attributions for scoring, signed, B×C×H×W, from a network, images B×C×H×W and classes int64[B].

    Whatever draws random numbers draws the same ones every time.
    """
    number = derive_seed("scored explanation", seed)

    def explain(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with seeded(number):
            return explainer(model, x, y, generator=torch.Generator().manual_seed(number))

    return explain


def unexplained(_model: nn.Module, _x: Tensor, _y: Tensor) -> Tensor:
    """In place of ``explaining`` for metrics of networks alone; raises RuntimeError."""
    raise RuntimeError("a metric of networks asked for an explanation")
