"""Computes one cell: attacks, explains clean and attacked images, and scores the maps, image by image."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attrobust.attacks.base import Attack, AttackOutput, Context
from attrobust.benchmark.evaluation.cases import Cases, explaining, unexplained
from attrobust.benchmark.evaluation.inputs import ImageList, Kept, Rules
from attrobust.benchmark.evaluation.scores import Scores, joined, unattacked, worst_of
from attrobust.benchmark.evaluation.scoring import Scoring
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import CaseMetric
from attrobust.networks.copying import independent_copy
from attrobust.process import seeded


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
    rows: range | None = None,
    kept: Kept | None = None,
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
        rows: positions of the images to evaluate; None for all.
        kept: of this attack on this network and explainer; the attack is run on what is not there.
    """
    with seeded(derive_seed("evaluation", rules.seed)):
        scored, scoring = scored_copy(model), Scoring(metrics, rules.seed)
        explain = explaining(independent_copy(explainer), rules.seed)
        attack = independent_copy(attack)
        batches = []
        for context, x, y, masks in _contexts(model, explainer, images, rules, source_model, progress, rows):
            output = _attacked(attack, context, x, y, kept)
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
    rows: range | None = None,
) -> Scores:
    """Score maps of clean images, or the network alone, without an attack.

    Args:
        model: in evaluation mode, on any device.
        explainer: whose maps are scored; None for metrics of the network alone.
        metrics: of scope ``map`` or ``network``.
        images, rules: shared by all cells.
        progress: label of the progress bar.
        rows: positions of the images to evaluate; None for all.
    """
    with seeded(derive_seed("evaluation", rules.seed)):
        scored, scoring = scored_copy(model), Scoring(metrics, rules.seed)
        explain = explaining(independent_copy(explainer), rules.seed) if explainer else unexplained
        batches = []
        for context, x, y, masks in _contexts(model, explainer or Saliency(), images, rules, None, progress, rows):
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
    rows: range | None = None,
    kept: Kept | None = None,
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
        rows, kept: see ``evaluate``.
    """
    rules = replace(rules, label="true")
    with seeded(derive_seed("evaluation", rules.seed)):
        attack = independent_copy(attack)
        batches = []
        for context, x, y, _ in _contexts(model, Saliency(), images, rules, source_model, progress, rows):
            output = _attacked(attack, context, x, y, kept)
            clean = context.predict(x) == y
            correct = [clean & (context.predict(result) == y) for result in (output.x, *output.others)]
            batches.append(worst_of(output, [torch.stack(correct).cpu().double()], [True]))
        return joined(batches)


def _attacked(attack: Attack, context: Context, x: Tensor, y: Tensor, kept: Kept | None) -> AttackOutput:
    """The results of the attack, computed where they are not kept."""
    output = kept.find(x) if kept else None
    if output is None:
        output = attack(context, x, y)
        if kept:
            kept.keep(x, output)
    return output


def _contexts(
    model: nn.Module,
    explainer: Explainer,
    images: ImageList,
    rules: Rules,
    source_model: nn.Module | None,
    progress: str,
    rows: range | None,
) -> Iterator[tuple[Context, Tensor, Tensor, Tensor | None]]:
    """The attack context, clean images, explained classes and object masks of every batch."""
    # Copies, so that a plug-in that changes one affects no other cell.
    model, explainer = independent_copy(model), independent_copy(explainer)
    like = next(model.parameters())
    source_model = None if source_model is None else independent_copy(source_model).to(like).eval()
    wanted = range(len(images)) if rows is None else rows
    starts = range(0, len(wanted), rules.batch_size)
    for start in tqdm(starts, desc=progress, unit="batch", leave=False, disable=None if len(starts) > 1 else True):
        batch = wanted[start : start + rules.batch_size]
        part = images.take(batch)
        x = part.x.to(like.device)
        context = Context(
            model=model,
            explainer=explainer,
            reduce=functools.partial(reduce_map, how=rules.reduction),
            threat=rules.threat,
            ids=list(batch),
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
