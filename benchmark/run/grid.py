"""What is measured of every network: the columns of the table, and on which images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attrobust.attacks.base import Attack
from attrobust.benchmark.data.base import Loaded, evaluation_sha256
from attrobust.benchmark.request.criterion import Criterion, ExplainerCriterion
from attrobust.benchmark.request.request import Request
from attrobust.explainers.base import Explainer
from attrobust.metrics.base import Metric
from attrobust.naming.component import Component
from attrobust.types import Scope, SplitName


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is measured of a network beside its clean accuracy: every attack on every explainer, and on the prediction.

    Attributes:
        split: whose images are attacked.
        images: how many, from the first.
        data_sha256: of these images.
        explainers, attacks, metrics: the columns.
        accuracy_attack: under which accuracy is measured on these images; None for no such column.
        accuracy: whether clean accuracy is measured on the whole split.
    """

    split: SplitName
    images: int
    data_sha256: str
    explainers: list[Component[Explainer]]
    attacks: list[Component[Attack]]
    metrics: list[Component[Metric]]
    accuracy_attack: Component[Attack] | None
    accuracy: bool = True

    def of(self, scope: Scope) -> list[Component[Metric]]:
        """The metrics of a scope."""
        return [metric for metric in self.metrics if type(metric.item).scope == scope]

    @property
    def source_models(self) -> list[str]:
        """Names of the methods whose networks the attacks need."""
        attacks = [self.accuracy_attack, *(self.attacks if self.of("attack") else [])]
        return list(
            dict.fromkeys(attack.item.source_model for attack in attacks if attack and attack.item.source_model)
        )


def table_grid(request: Request, data: Loaded) -> Grid:
    """What the rows of the table are measured on."""
    images = request.protocol.images
    return Grid(
        split="test",
        images=images,
        data_sha256=evaluation_sha256(data.splits["test"], images),
        explainers=request.explainers,
        attacks=request.attacks,
        metrics=request.metrics,
        accuracy_attack=request.accuracy_attack,
    )


def choosing_grid(criterion: Criterion, data: Loaded, images: int) -> Grid:
    """What candidates are measured on: as many validation images, at most the split."""
    found = _validation_grid(criterion.metric, data, images)
    return replace(found, explainers=[criterion.explainer], attacks=[criterion.attack])


def tuning_grid(criterion: ExplainerCriterion, data: Loaded, images: int) -> Grid:
    """What settings of explainers are measured on: as many validation images, at most the split."""
    explainers = [item for sweep in criterion.sweeps for item in sweep.candidates]
    return replace(_validation_grid(criterion.metric, data, images), explainers=explainers, accuracy=False)


def _validation_grid(metric: Component[Metric], data: Loaded, images: int) -> Grid:
    images = min(images, len(data.splits["val"]))
    return Grid(
        split="val",
        images=images,
        data_sha256=evaluation_sha256(data.splits["val"], images),
        explainers=[],
        attacks=[],
        metrics=[metric],
        accuracy_attack=None,
    )
