"""``attrobust.evaluate``: a torch classifier and tensors, one explainer, one attack, any metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from attrobust import attacks, explainers
from attrobust.attacks.base import Attack
from attrobust.benchmark.notebook.answering import answer
from attrobust.benchmark.notebook.asked import component, metrics_of
from attrobust.benchmark.notebook.given import given
from attrobust.benchmark.notebook.question import Question, rules_of
from attrobust.benchmark.notebook.result import Evaluation
from attrobust.explainers.base import Explainer
from attrobust.maps.reduction import Reduction
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import Metric
from attrobust.process import seeded
from attrobust.types import UsageError


def evaluate(
    model: nn.Module,
    x: Tensor,
    y: Any = None,
    *,
    explainer: str | Explainer = "saliency",
    attack: str | Attack = "topk",
    metrics: str | Metric | Sequence[str | Metric] = "topk,spearman,cosine",
    eps: float | str = 8 / 255,
    norm: Literal["linf", "l2"] = "linf",
    keep_prediction: bool = True,
    label: Literal["predicted", "true"] = "predicted",
    reduction: Reduction = "abs-sum",
    seed: int = 0,
    batch_size: int = 16,
    classes: int | None = None,
    partners: Tensor | None = None,
    masks: Tensor | None = None,
    source_model: nn.Module | None = None,
    audit: bool = True,
    progress: bool = True,
    name: str = "",
) -> Evaluation:
    """Explain a network's decisions, attack the explanations, and score the maps, image by image.

    The same code computes it that computes a run's cells, with the same conventions: scores are those of the unmodified
    network in float64, the explained class is the network's own prediction, an infeasible attack scores the clean
    image, and of an ensemble's results each metric takes the worst. The network is copied, and stays as it is.

    Args:
        model: a classifier that takes B×C×H×W with pixels in [0, 1] and returns one logit for each class; other outputs
            are adapted where they are clear, see ``Evaluation.notes``. One that expects normalised images is
            ``nn.Sequential(attrobust.Normalize(mean, std), network)``. It is computed on the device that it is on.
        x: images, B×C×H×W in [0, 1].
        y: true classes, B whole numbers; only accuracy and ``label="true"`` need them.
        explainer: as the command line takes it, e.g. ``"ig:steps=32"``, or an instance.
        attack: likewise, e.g. ``"topk"``, ``"auto"``.
        metrics: likewise, one or several, e.g. ``"topk:k=5%,spearman,insertion"``.
        eps: radius of the ball in pixel units: ``8 / 255`` or ``"8/255"``.
        norm: of the ball.
        keep_prediction: whether an attack must leave the predicted class as it is.
        label: which class is explained.
        reduction: of the channels of an attribution to a map.
        seed: of everything random.
        batch_size: images at once; results do not depend on it beyond rounding.
        classes: of the network, where it cannot be told from its output.
        partners: for each image another one of another class, B×C×H×W, that some attacks and metrics need; taken from
            ``x`` where it is None.
        masks: bool B×H×W, where each image shows its object; metrics of localisation need it.
        source_model: of attacks that are transferred from another network.
        audit: whether checks are made whose failures are flags, see ``docs/flags.md``.
        progress: whether there is a progress bar.
        name: of the network, for tables; that of its class where it is empty.

    Raises:
        UsageError: an unknown name, or settings that do not suit images or network.
        ValueError: a network or a tensor is not what it should be.

    Example::

        result = attrobust.evaluate(model, x, y, explainer="ig", attack="auto", eps=4 / 255)
        result.summary()
    """
    question = Question(
        explainer=component(explainers.registry, explainer, Explainer),
        attack=component(attacks.registry, attack, Attack),
        metrics=metrics_of(metrics),
        rules=rules_of(eps, norm, label, reduction, seed, batch_size, keep_prediction=keep_prediction),
        source_model=source_model,
        audit=audit,
        progress=progress,
    )
    if source_model is not None and not isinstance(source_model, nn.Module):
        raise UsageError(f"source_model must be a torch.nn.Module, not {type(source_model).__name__}")
    if label == "true" and y is None:
        raise UsageError("label='true' explains the true classes; give them as y")
    # Whatever a network sets or draws in the process is put back.
    with seeded(derive_seed("notebook", question.rules.seed)):
        found = given(model, x, y, classes=classes, partners=partners, masks=masks, batch_size=batch_size)
        return answer(question, found, name or type(model).__name__)
