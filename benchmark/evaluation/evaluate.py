"""Computes one cell: attacks, explains clean and attacked images, and scores the maps, image by image."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attrobust.attacks.base import Attack, Context
from attrobust.benchmark.evaluation.cases import Cases, explaining, unexplained
from attrobust.benchmark.evaluation.scores import Scores, joined, unattacked, worst_of
from attrobust.benchmark.evaluation.scoring import Scoring
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.images import check_pixels
from attrobust.maps.reduction import Reduction, reduce_map
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import CaseMetric
from attrobust.networks.copying import independent_copy
from attrobust.process import seeded
from attrobust.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Images:
    """The fixed list of images that every model is scored on.

    Attributes:
        x: B×C×H×W in [0, 1].
        y: true classes, int64[B].
        partners: for each image another one, of another class, B×C×H×W.
        masks: object masks, bool B×H×W; None where the dataset has none.

    Raises:
        ValueError: images are not floats B×C×H×W, finite and in [0, 1], or classes and masks are not one for each.
    """

    x: Tensor
    y: Tensor
    partners: Tensor
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        check_pixels(self.x, "images")
        check_pixels(self.partners, "partners")
        count, _, height, width = self.x.shape
        if self.partners.shape != self.x.shape:
            raise ValueError(f"partners are {_shape(self.partners)}, the images {_shape(self.x)}")
        if self.y.shape != (count,) or self.y.dtype != torch.int64:
            raise ValueError(
                f"classes must be int64, one for each of {count} images, not {self.y.dtype} {_shape(self.y)}"
            )
        masks = self.masks
        if masks is not None and (masks.shape != (count, height, width) or masks.dtype != torch.bool):
            raise ValueError(f"masks must be bool {count}×{height}×{width}, not {masks.dtype} {_shape(masks)}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: range) -> Images:
        """Some of the images."""
        chosen = list(rows)
        masks = None if self.masks is None else self.masks[chosen]
        return Images(x=self.x[chosen], y=self.y[chosen], partners=self.partners[chosen], masks=masks)


class ImageList(Protocol):
    """A fixed list of images that is handed out in parts, so that it need not be in memory."""

    def __len__(self) -> int: ...

    def take(self, rows: range) -> Images:
        """Some of the images."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings common to all cells of a run: threat model, reduction, explained class, seed, batch size."""

    threat: ThreatModel
    reduction: Reduction
    label: str
    seed: int
    batch_size: int


def evaluate(
    model: nn.Module,
    explainer: Explainer,
    attack: Attack,
    metrics: Sequence[CaseMetric],
    images: ImageList,
    rules: Rules,
    *,
    source_model: nn.Module | None = None,
    progress: str = "attack",
) -> Scores:
    """Attack every image's explanation and score the maps of the clean and the attacked images.

    Maps that are compared explain the same class and, for a stochastic explainer, use the same draws, so that without a
    perturbation they are equal; the attacker's draws are different ones. Maps are scored in float64 where the device
    has it: on flat backgrounds max-pooling has ties, which float32 breaks by rounding, differently in every batch.

    Where an attack has several results, each metric takes, image by image, the worst for the model.

    No component changes what another one is given, or what the caller has: each works on copies, with random states of
    its own, and the caller's modes have no effect. A metric that fails has no scores, see ``Scores.failures``.

    Args:
        model: in evaluation mode, on any device.
        explainer, attack, metrics: of the cell.
        images, rules: shared by all cells.
        source_model: source model of a transfer attack, see ``Attack.source_model``.
        progress: label of the progress bar.
    """
    with seeded(derive_seed("evaluation", rules.seed)):
        scored, scoring = scored_copy(model), Scoring(metrics, rules.seed)
        explain = explaining(scored, independent_copy(explainer), rules.seed)
        attack = independent_copy(attack)
        batches = []
        for context, x, y, masks in _contexts(model, explainer, images, rules, source_model, progress):
            output = attack(context, x, y)
            results = (output.x, *output.others)
            cases = Cases(scored, explain, context, x, y, results=results, masks=masks)
            batches.append(worst_of(output, scoring.score(cases), scoring.higher_is_better))
            if scoring.over:
                break
        return replace(joined(batches), failures=scoring.failures)


def judge(
    model: nn.Module,
    explainer: Explainer | None,
    metrics: Sequence[CaseMetric],
    images: ImageList,
    rules: Rules,
    *,
    progress: str = "metrics",
) -> Scores:
    """Score maps of clean images, or the network alone, without an attack.

    Args:
        model: in evaluation mode, on any device.
        explainer: whose maps are scored; None for metrics of the network alone.
        metrics: of scope ``map`` or ``network``.
        images, rules: shared by all cells.
        progress: label of the progress bar.
    """
    with seeded(derive_seed("evaluation", rules.seed)):
        scored, scoring = scored_copy(model), Scoring(metrics, rules.seed)
        explain = explaining(scored, independent_copy(explainer), rules.seed) if explainer else unexplained
        batches = []
        for context, x, y, masks in _contexts(model, explainer or Saliency(), images, rules, None, progress):
            cases = Cases(scored, explain, context, x, y, masks=masks)
            batches.append(unattacked([scores[0] for scores in scoring.score(cases)]))
            if scoring.over:
                break
        return replace(joined(batches), failures=scoring.failures)


def accuracy_under_attack(
    model: nn.Module,
    attack: Attack,
    images: ImageList,
    rules: Rules,
    *,
    source_model: nn.Module | None = None,
    progress: str = "attack",
) -> Scores:
    """Attack every image's prediction; the score is 1 where the clean and all attacked images are classified correctly.

    Predictions are in the network's own precision, as in the attack and for the clean accuracy.

    Args:
        model: in evaluation mode, on any device.
        attack: on the prediction.
        images: with their true classes.
        rules: with a threat model that does not keep the prediction.
        source_model: source model of a transfer attack, see ``Attack.source_model``.
        progress: label of the progress bar.
    """
    rules = replace(rules, label="true")
    with seeded(derive_seed("evaluation", rules.seed)):
        attack = independent_copy(attack)
        batches = []
        for context, x, y, _ in _contexts(model, Saliency(), images, rules, source_model, progress):
            output = attack(context, x, y)
            clean = context.predict(x) == y
            correct = [clean & (context.predict(result) == y) for result in (output.x, *output.others)]
            batches.append(worst_of(output, [torch.stack(correct).cpu().double()], [True]))
        return joined(batches)


def _shape(x: Tensor) -> str:
    return "×".join(map(str, x.shape))


def _contexts(
    model: nn.Module,
    explainer: Explainer,
    images: ImageList,
    rules: Rules,
    source_model: nn.Module | None,
    progress: str,
) -> Iterator[tuple[Context, Tensor, Tensor, Tensor | None]]:
    """The attack context, clean images, explained classes and object masks of every batch."""
    # Copies, so that a plug-in that changes one affects no other cell.
    model, explainer = independent_copy(model), independent_copy(explainer)
    like = next(model.parameters())
    source_model = None if source_model is None else independent_copy(source_model).to(like).eval()
    count = len(images)
    starts = range(0, count, rules.batch_size)
    for start in tqdm(starts, desc=progress, unit="batch", leave=False, disable=None if len(starts) > 1 else True):
        rows = range(start, min(start + rules.batch_size, count))
        part = images.take(rows)
        x = part.x.to(like.device)
        context = Context(
            model=model,
            explainer=explainer,
            reduce=functools.partial(reduce_map, how=rules.reduction),
            threat=rules.threat,
            ids=list(rows),
            partners=part.partners.to(like.device),
            seed=rules.seed,
            surrogate=None if explainer.differentiable else Saliency(),
            source_model=source_model,
        )
        y = context.predict(x) if rules.label == "predicted" else part.y.to(like.device)
        yield context, x, y, part.masks


def scored_copy(model: nn.Module) -> nn.Module:
    """A copy for computing scored maps, in float64 where the device has it."""
    copied = independent_copy(model)
    return copied if next(model.parameters()).device.type == "mps" else copied.double()
