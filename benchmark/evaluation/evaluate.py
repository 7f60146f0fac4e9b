"""One cell computed: attack, explain before and after, score, image by image."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attrobust.attacks.base import Attack, Context
from attrobust.benchmark.evaluation.scores import Scores, joined, unattacked, worst_of
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import Reduction, reduce_map
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.shared.case import Case
from attrobust.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Images:
    """The fixed list every model is scored on.

    Attributes:
        x: B×C×H×W in [0, 1].
        y: true classes, int64[B].
        partners: for each image another one, of another class, B×C×H×W.
        masks: bool B×H×W, the pixels that make an image what it is; None where the dataset does not know them.
    """

    x: Tensor
    y: Tensor
    partners: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is the same for every cell of a run: threat, map, explained class, seed, batch size."""

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
    images: Images,
    rules: Rules,
    *,
    donor: nn.Module | None = None,
    progress: str = "attack",
) -> Scores:
    """Attack every image's explanation and score what the explainer says of the clean and of the attacked image.

    Maps that are compared explain the same class and, for a stochastic explainer, use the same draws, so that without
    a perturbation they are equal; the draws are not those the attacker saw. Maps are scored in float64 where the device
    has it: on flat backgrounds max-pooling has ties, which float32 breaks by rounding, differently in every batch.

    Of an attack with several results every metric keeps, image by image, the worst for the model.

    Args:
        model: in evaluation mode, on any device.
        explainer, attack, metrics: what is scored.
        images, rules: shared by all cells.
        donor: the network that ``Attack.donor`` asks for.
        progress: what the progress bar says.
    """
    scored = scored_copy(model)
    higher_is_better = [type(metric).higher_is_better for metric in metrics]
    batches = []
    for context, x, y in _contexts(model, explainer, images, rules, donor, progress):
        output = attack(context, x, y)
        clean = _case(scored, explainer, images, context, x, y)
        cases = [replace(clean, attacked=result.to(clean.clean)) for result in (output.x, *output.others)]
        found = [torch.stack([_score(metric, case) for case in cases]) for metric in metrics]
        batches.append(worst_of(output, found, higher_is_better))
    return joined(batches)


def judge(
    model: nn.Module,
    explainer: Explainer | None,
    metrics: Sequence[CaseMetric],
    images: Images,
    rules: Rules,
    *,
    progress: str = "metrics",
) -> Scores:
    """Score maps of clean images, or the network alone, as ``evaluate`` does with an attack.

    Args:
        model: in evaluation mode, on any device.
        explainer: whose maps are judged; None for metrics that ask for none.
        metrics: not of attacks.
        images, rules: shared by all cells.
        progress: what the progress bar says.
    """
    scored = scored_copy(model)
    batches = []
    for context, x, y in _contexts(model, explainer or Saliency(), images, rules, None, progress):
        case = _case(scored, explainer, images, context, x, y)
        batches.append(unattacked([_score(metric, case) for metric in metrics]))
    return joined(batches)


def accuracy_under_attack(
    model: nn.Module,
    attack: Attack,
    images: Images,
    rules: Rules,
    *,
    donor: nn.Module | None = None,
    progress: str = "attack",
) -> Scores:
    """Attack every image's prediction; 1 where the network is right about the clean and every attacked image, else 0.

    Predictions are those of the network as it is attacked and as its clean accuracy is measured, in its own precision.

    Args:
        model: in evaluation mode, on any device.
        attack: on the prediction.
        images: with their true classes.
        rules: their threat must leave the prediction free.
        donor: the network that ``Attack.donor`` asks for.
        progress: what the progress bar says.
    """
    batches = []
    rules = replace(rules, label="true")
    for context, x, y in _contexts(model, Saliency(), images, rules, donor, progress):
        output = attack(context, x, y)
        clean = context.predict(x) == y
        right = [clean & (context.predict(result) == y) for result in (output.x, *output.others)]
        batches.append(worst_of(output, [torch.stack(right).cpu().double()], [True]))
    return joined(batches)


def _score(metric: CaseMetric, case: Case) -> Tensor:
    """On the CPU; what goes wrong is told with the metric's name, because it is the end of the whole cell."""
    try:
        return metric.score(case).cpu()
    except Exception as error:
        raise RuntimeError(f"metric {type(metric).__name__}: {type(error).__name__}: {error}") from error


def _case(
    scored: nn.Module, explainer: Explainer | None, images: Images, context: Context, x: Tensor, y: Tensor
) -> Case:
    """What metrics are given of a batch that nothing has attacked, typed like the scored network."""
    clean = x.to(next(scored.parameters()).dtype)
    partners = context.partners.to(clean)
    explain = _unexplained if explainer is None else functools.partial(explained, scored, explainer, context.seed)
    return Case(
        model=scored,
        clean=clean,
        attacked=clean,
        target=y,
        explain=_remembering(explain, clean, partners),
        reduce=context.reduce,
        partners=partners,
        seed=context.seed,
        ids=context.ids,
        masks=None if images.masks is None else images.masks[list(context.ids)].to(clean.device),
    )


def _unexplained(_x: Tensor, _y: Tensor) -> Tensor:
    raise RuntimeError("a metric of networks asked for an explanation")


def _contexts(
    model: nn.Module,
    explainer: Explainer,
    images: Images,
    rules: Rules,
    donor: nn.Module | None,
    progress: str,
) -> Iterator[tuple[Context, Tensor, Tensor]]:
    """Batch by batch: the situation, the clean images and their explained classes."""
    # Copies, so that a plug-in that spoils a network spoils no other cell.
    model = copy.deepcopy(model)
    like = next(model.parameters())
    donor = None if donor is None else copy.deepcopy(donor).to(like).eval()
    count = len(images.y)
    starts = range(0, count, rules.batch_size)
    for start in tqdm(starts, desc=progress, unit="batch", leave=False, disable=None if len(starts) > 1 else True):
        rows = list(range(start, min(start + rules.batch_size, count)))
        x = images.x[rows].to(like.device)
        context = Context(
            model=model,
            explainer=explainer,
            reduce=functools.partial(reduce_map, how=rules.reduction),
            threat=rules.threat,
            ids=rows,
            partners=images.partners[rows].to(like.device),
            seed=rules.seed,
            surrogate=None if explainer.differentiable else Saliency(),
            donor=donor,
        )
        y = context.predict(x) if rules.label == "predicted" else images.y[rows].to(like.device)
        yield context, x, y


def _remembering(explain: Callable[[Tensor, Tensor], Tensor], *fixed: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """``explain`` that computes what it says of the images that all results of an attack share only the first time."""
    known: list[tuple[Tensor, Tensor, Tensor]] = []

    def remembered(x: Tensor, y: Tensor) -> Tensor:
        for images, classes, maps in known:
            if x is images and torch.equal(y, classes):
                return maps
        maps = explain(x, y)
        if any(x is images for images in fixed):
            known.append((x, y, maps))
        return maps

    return remembered


def scored_copy(model: nn.Module) -> nn.Module:
    """A copy whose maps are scored: in float64 where the device has it."""
    copied = copy.deepcopy(model)
    return copied if next(model.parameters()).device.type == "mps" else copied.double()


def explained(model: nn.Module, explainer: Explainer, seed: int, x: Tensor, y: Tensor) -> Tensor:
    """What is scored: signed attributions B×C×H×W, of a stochastic explainer with the same draws every time."""
    generator = torch.Generator().manual_seed(derive_seed("scored explanation", seed))
    return explainer(model, x, y, generator=generator)
