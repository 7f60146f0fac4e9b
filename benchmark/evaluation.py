"""One cell computed: attack, explain before and after, score, image by image."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attacks.base import Attack, Context
from attrobust.passes import Passes
from attrobust.seeds import derive_seed
from attrobust.types import ThreatModel
from explainers.base import Explainer, Reduction, reduce_map
from explainers.saliency import Saliency
from metrics.base import Case, Metric


@dataclass(frozen=True, kw_only=True)
class Images:
    """The fixed list every model is scored on.

    Attributes:
        x: B×C×H×W in [0, 1].
        y: true classes, int64[B].
        partners: for each image another one, of another class, B×C×H×W.
    """

    x: Tensor
    y: Tensor
    partners: Tensor


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is the same for every cell of a run: threat, map, explained class, seed, batch size."""

    threat: ThreatModel
    reduction: Reduction
    label: str
    seed: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Per-image results of one cell.

    Attributes:
        values: one float64[B] for each metric, in order.
        legal: bool[B], whether the attack's own result obeyed the rules; the clean image was scored where it did not.
        passes: images the attack sent through the network.
    """

    values: list[Tensor]
    legal: Tensor
    passes: Passes


def evaluate(
    model: nn.Module,
    explainer: Explainer,
    attack: Attack,
    metrics: Sequence[Metric],
    images: Images,
    rules: Rules,
    progress: str = "attack",
) -> Scores:
    """Attack every image's explanation and score what the explainer says of the clean and of the attacked image.

    Maps that are compared explain the same class and, for a stochastic explainer, use the same draws, so that without
    a perturbation they are equal; the draws are not those the attacker saw. Maps are scored in float64 where the device
    has it: on flat backgrounds max-pooling has ties, which float32 breaks by rounding, differently in every batch.

    Args:
        model: in evaluation mode, on any device.
        explainer, attack, metrics: what is scored.
        images, rules: shared by all cells.
        progress: what the progress bar says.
    """
    device = next(model.parameters()).device
    # Copies, so that a plug-in that spoils the network spoils no other cell.
    model = copy.deepcopy(model)
    scored = copy.deepcopy(model) if device.type == "mps" else copy.deepcopy(model).double()
    count = len(images.y)
    reduce = functools.partial(reduce_map, how=rules.reduction)
    explain = functools.partial(_explained, scored, explainer, rules.seed)
    precision = next(scored.parameters()).dtype
    values: list[list[Tensor]] = [[] for _ in metrics]
    legal: list[Tensor] = []
    passes = Passes()
    starts = range(0, count, rules.batch_size)
    for start in tqdm(starts, desc=progress, unit="batch", leave=False, disable=None if len(starts) > 1 else True):
        rows = list(range(start, min(start + rules.batch_size, count)))
        x = images.x[rows].to(device)
        context = Context(
            model=model,
            explainer=explainer,
            reduce=reduce,
            threat=rules.threat,
            ids=rows,
            partners=images.partners[rows].to(device),
            seed=rules.seed,
            surrogate=None if explainer.differentiable else Saliency(),
        )
        y = context.predict(x) if rules.label == "predicted" else images.y[rows].to(device)
        result = attack(context, x, y)
        case = Case(
            model=scored,
            clean=x.to(precision),
            attacked=result.x.to(precision),
            target=y,
            explain=explain,
            reduce=reduce,
        )
        for scores, metric in zip(values, metrics, strict=True):
            scores.append(metric.score(case).cpu())
        legal.append(result.legal.cpu())
        passes.forward += result.passes.forward
        passes.backward += result.passes.backward
        passes.double_backward += result.passes.double_backward
    return Scores(values=[torch.cat(scores) for scores in values], legal=torch.cat(legal), passes=passes)


def _explained(model: nn.Module, explainer: Explainer, seed: int, x: Tensor, y: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed("scored explanation", seed))
    return explainer(model, x, y, generator=generator)
