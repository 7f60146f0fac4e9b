"""The cells of a network: what is measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from attrobust.attacks.base import Attack
from attrobust.benchmark.data.base import Loaded, SplitName, evaluation_sha256, image_facts
from attrobust.benchmark.request.criterion import Criterion
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.provenance import EVALUATION, code_digest, plugin_digest
from attrobust.benchmark.store.store import row_fingerprint
from attrobust.explainers.base import Explainer
from attrobust.metrics.base import Metric, Scope
from attrobust.naming.component import Component
from attrobust.naming.spec import fingerprint
from attrobust.types import Cell

ACCURACY = {
    "label": "accuracy",
    "name": "accuracy",
    "settings": {},
    "plugin": "",
    "title": "accuracy (%)",
    "higher_is_better": True,
    "scale": 100.0,
    "decimals": 1,
    "unit": True,
}
"""Clean accuracy, described like a metric."""
ROBUST_ACCURACY = ACCURACY | {"label": "robust-accuracy", "name": "robust-accuracy"}
"""Accuracy under an attack on the prediction, which its title is to name."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One cell with the metrics wanted of it.

    Attributes:
        cell: what is computed.
        split: whose images.
        metrics: of one scope; none where what is measured is accuracy, which has no explainer either.
        explainer, attack: as far as there is one.
        column: the explainer as the table's column calls it; that of a control is another one.
    """

    cell: Cell
    split: SplitName
    metrics: list[Component[Metric]]
    explainer: Component[Explainer] | None = None
    attack: Component[Attack] | None = None
    column: str = ""

    @property
    def scope(self) -> Scope | Literal["accuracy"]:
        """What is measured: accuracy, clean or under attack, or metrics of a scope."""
        return type(self.metrics[0].item).scope if self.metrics else "accuracy"

    @property
    def rows(self) -> list[tuple[str, dict[str, Any]]]:
        """Fingerprint and facts of every row of the cell, one per metric."""
        if self.metrics:
            facts = [metric_facts(metric) for metric in self.metrics]
        else:
            facts = [accuracy_facts(self.attack) if self.attack else ACCURACY]
        cell = asdict(self.cell)
        return [(row_fingerprint(cell, item), item) for item in facts]

    @property
    def donor(self) -> str:
        """Name of the method whose network the attack needs; empty where it needs none."""
        return self.attack.item.donor if self.attack else ""

    @property
    def label(self) -> str:
        """Explainer and attack, or what is measured without them, as progress bars and logs say it."""
        parts = [part.label for part in (self.explainer, self.attack) if part]
        if self.scope in ("accuracy", "network"):
            parts = [self.scope, *parts]
        elif self.scope == "training":
            parts += [metric.label for metric in self.metrics]
        words = " / ".join(parts)
        return words if self.split == "test" else f"{words} on validation images"

    def entries(self, subject: int) -> Iterator[dict[str, Any]]:
        """Where each row stands in the table of a run: its subject's position, explainer, attack and metric."""
        for key, facts in self.rows:
            yield {
                "subject": subject,
                "explainer": self.column,
                "attack": self.attack.label if self.attack else "",
                "metric": facts["label"],
                "row": key,
            }


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A subject whose cells are all on disk, computed or failed.

    Attributes:
        sha256: of its weights; empty where there are none.
        tasks: its cells.
        failures: one line for everything that went wrong.
        findings: what was found of a user's checkpoint, by its label.
    """

    sha256: str
    tasks: list[Task]
    failures: list[str]
    findings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is measured of a network beside its clean accuracy: every attack on every explainer, and on the prediction.

    Attributes:
        split: whose images are attacked.
        images: how many, from the first.
        data_sha256: of these images.
        explainers, attacks, metrics: the columns.
        accuracy_attack: under which accuracy is measured on these images; None for no such column.
    """

    split: SplitName
    images: int
    data_sha256: str
    explainers: list[Component[Explainer]]
    attacks: list[Component[Attack]]
    metrics: list[Component[Metric]]
    accuracy_attack: Component[Attack] | None

    def of(self, scope: Scope) -> list[Component[Metric]]:
        """The metrics of a scope."""
        return [metric for metric in self.metrics if type(metric.item).scope == scope]

    @property
    def donors(self) -> list[str]:
        """Names of the methods whose networks the attacks need."""
        attacks = [self.accuracy_attack, *(self.attacks if self.of("attack") else [])]
        return list(dict.fromkeys(attack.item.donor for attack in attacks if attack and attack.item.donor))


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
    images = min(images, len(data.splits["val"]))
    return Grid(
        split="val",
        images=images,
        data_sha256=evaluation_sha256(data.splits["val"], images),
        explainers=[criterion.explainer],
        attacks=[criterion.attack],
        metrics=[criterion.metric],
        accuracy_attack=None,
    )


def accuracy_facts(attack: Component[Attack]) -> dict[str, Any]:
    """Accuracy under an attack, described like a metric."""
    return ROBUST_ACCURACY | {"title": f"under {attack.name} (%)"}


def metric_facts(metric: Component[Metric]) -> dict[str, Any]:
    """What decides a metric's value, and what a table has to know of it."""
    kind = type(metric.item)
    return {
        **metric.canonical,
        "plugin": plugin_digest(kind),
        "label": metric.label,
        "title": " ".join(f"{metric.item.title} {metric.item.convention}".split()),
        "higher_is_better": kind.higher_is_better,
        "scale": kind.scale,
        "decimals": kind.decimals,
        "unit": kind.bounds == (0.0, 1.0),
        "scope": kind.scope,
    }


def tasks_of(
    request: Request, data: Loaded, grid: Grid, subject: Subject, sha256: str, donors: Mapping[str, str]
) -> list[Task]:
    """Every cell of a subject, clean accuracy first, then that under attack.

    Args:
        request, data: of the run.
        grid: what is measured, and on which images.
        subject: the row.
        sha256: of its weights.
        donors: sha256 of the weights of the networks that attacks need, by name, as far as there are any.
    """
    protocol, split = request.protocol, data.splits[grid.split]
    shared: dict[str, Any] = {
        "subject": {**subject.facts, "images": asdict(image_facts(data))},
        "checkpoint_sha256": sha256,
        "dataset": request.dataset.canonical,
        "data_sha256": grid.data_sha256,
        "images": grid.images,
        "seed": protocol.evaluation_seed,
        "protocol": f"{protocol.name} v{protocol.version}",
    }

    def task(
        metrics: Sequence[Component[Metric]],
        column: Component[Explainer] | None = None,
        attack: Component[Attack] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Task:
        explainer = subject.explainer if column and subject.explainer else column
        attacked: dict[str, Any] = {}
        if attack:
            attacked["threat"] = asdict(protocol.threat if explainer else protocol.accuracy_threat)
            attacked["batch_size"] = request.batch_size if attack.item.batch_dependent else 0
            attacked["donor_sha256"] = donors.get(attack.item.donor, "")
        cell = Cell(
            **{**shared, **attacked, **(facts or {})},
            explainer=explainer.canonical if explainer else {},
            attack=attack.canonical if attack else {},
            label=protocol.label if metrics else "",
            reduction=protocol.reduction if explainer else "",
            code=code_digest(EVALUATION, [type(part.item) for part in (explainer, attack) if part]),
        )
        return Task(
            cell=cell,
            split=grid.split,
            metrics=list(metrics),
            explainer=explainer,
            attack=attack,
            column=column.label if column else "",
        )

    tasks = [task([], facts={"data_sha256": split.sha256, "images": len(split)})]
    if grid.accuracy_attack:
        tasks.append(task([], attack=grid.accuracy_attack))
    if metrics := grid.of("attack"):
        tasks += [task(metrics, explainer, attack) for explainer in grid.explainers for attack in grid.attacks]
    if metrics := grid.of("map"):
        tasks += [task(metrics, explainer) for explainer in grid.explainers]
    if metrics := grid.of("network"):
        tasks.append(task(metrics))
    if studies := grid.of("training"):
        anew = {
            "data_sha256": fingerprint({name: part.sha256 for name, part in data.splits.items()}),
            "images": len(split),
            "training": request.recipe.shared(tuning=False),
        }
        tasks += [task([study], explainer, facts=anew) for explainer in grid.explainers for study in studies]
    return tasks
