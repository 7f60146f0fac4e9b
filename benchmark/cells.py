"""The cells of a run: which networks, and what is measured of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from attacks.base import Attack
from attrobust.types import Cell
from benchmark.components import Component
from benchmark.criterion import Criterion
from benchmark.data.base import Loaded, SplitName, evaluation_sha256
from benchmark.external import ExternalCheckpoint
from benchmark.provenance import EVALUATION, code_digest, plugin_digest
from benchmark.request import Request
from benchmark.store import row_fingerprint
from benchmark.training import image_facts
from benchmark.zoo import TrainingJob
from explainers.base import Explainer
from methods.base import Method
from metrics.base import Metric

ACCURACY = {
    "label": "accuracy",
    "name": "accuracy",
    "settings": {},
    "plugin": "",
    "title": "accuracy (%)",
    "higher_is_better": True,
    "scale": 100.0,
    "decimals": 1,
}
"""Clean accuracy, described like a metric."""
ROBUST_ACCURACY = ACCURACY | {"label": "robust-accuracy", "name": "robust-accuracy"}
"""Accuracy under an attack on the prediction, which its title is to name."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One row of the table.

    Attributes:
        label: as the table prints it.
        seed: of training; None for a user's checkpoint.
        source: how its network is made.
        candidate_of: the sweep it is to be chosen from, as typed; until then it is measured on the validation split.
        unchosen: why no member of a sweep could be chosen; the row then stands for the sweep and has no network.
    """

    label: str
    seed: int | None
    source: TrainingJob | ExternalCheckpoint
    candidate_of: str = ""
    unchosen: str = ""

    @property
    def donor_seed(self) -> int:
        """Of the training of the networks that attacks on this one need."""
        return self.seed or 0

    @property
    def facts(self) -> dict[str, Any]:
        """What the network is, apart from its weights."""
        model = self.source.model
        if isinstance(self.source, ExternalCheckpoint):
            return {"method": None, "model": model.canonical, "plugins": [plugin_digest(type(model.item))]}
        method = self.source.method
        plugins = [plugin_digest(type(method.item)), plugin_digest(type(model.item))]
        known = {"name": method.name, "settings": {"sweep": self.label}} if self.unchosen else method.canonical
        return {"method": known, "model": model.canonical, "plugins": plugins}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One cell with the metrics wanted of it; accuracy has none, no explainer and, when clean, no attack."""

    cell: Cell
    split: SplitName
    explainer: Component[Explainer] | None
    attack: Component[Attack] | None
    metrics: list[Component[Metric]]

    @property
    def rows(self) -> list[tuple[str, dict[str, Any]]]:
        """Fingerprint and facts of every row of the cell, one per metric."""
        if self.explainer:
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
        """Explainer and attack, as progress bars and logs say it."""
        parts = [part.label if part else "accuracy" for part in (self.explainer, self.attack)]
        words = " / ".join(dict.fromkeys(parts))
        return words if self.split == "test" else f"{words} on validation images"

    def entries(self, subject: int) -> Iterator[dict[str, Any]]:
        """Where each row stands in the table of a run: its subject's position, explainer, attack and metric."""
        for key, facts in self.rows:
            yield {
                "subject": subject,
                "explainer": self.explainer.label if self.explainer else "",
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

    @property
    def donors(self) -> list[str]:
        """Names of the methods whose networks the attacks need."""
        attacks = [*self.attacks, *([self.accuracy_attack] if self.accuracy_attack else [])]
        return list(dict.fromkeys(attack.item.donor for attack in attacks if attack.item.donor))


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
    }


def job_of(request: Request, data: Loaded, method: Component[Method], seed: int) -> TrainingJob:
    """The training of a method with the run's model, dataset and recipe."""
    return TrainingJob(
        method=method,
        model=request.model,
        dataset=request.dataset,
        data=data,
        recipe=request.recipe,
        seed=seed,
        start=request.starts.get(method.item.start),
    )


def subjects_of(request: Request, data: Loaded) -> list[Subject]:
    """The rows of the table in the order asked for: every method with every seed, then the user's checkpoints."""
    found = []
    candidates = {str(spec): sweep.text for sweep in request.sweeps for spec in sweep.specs}
    for method in request.methods:
        for seed in request.protocol.seeds:
            job = job_of(request, data, method, seed)
            of = candidates.get(method.label, "") if request.criterion else ""
            found.append(Subject(label=method.label, seed=seed, source=job, candidate_of=of))
    return found + [Subject(label=item.name, seed=None, source=item) for item in request.checkpoints]


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
    protocol = request.protocol
    shared: dict[str, Any] = {
        "subject": {**subject.facts, "images": asdict(image_facts(data))},
        "checkpoint_sha256": sha256,
        "dataset": request.dataset.canonical,
        "seed": protocol.evaluation_seed,
        "protocol": f"{protocol.name} v{protocol.version}",
    }
    split = data.splits[grid.split]
    accuracy = Cell(
        **shared,
        data_sha256=split.sha256,
        images=len(split),
        explainer={},
        attack={},
        threat={},
        label="",
        reduction="",
        code=code_digest(EVALUATION, []),
    )
    tasks = [Task(cell=accuracy, split=grid.split, explainer=None, attack=None, metrics=[])]

    def attacked(attack: Component[Attack], explainer: Component[Explainer] | None) -> Task:
        parts = [type(explainer.item), type(attack.item)] if explainer else [type(attack.item)]
        cell = Cell(
            **shared,
            data_sha256=grid.data_sha256,
            images=grid.images,
            explainer=explainer.canonical if explainer else {},
            attack=attack.canonical,
            threat=asdict(protocol.threat if explainer else protocol.accuracy_threat),
            label=protocol.label if explainer else "",
            reduction=protocol.reduction if explainer else "",
            code=code_digest(EVALUATION, parts),
            batch_size=request.batch_size if attack.item.batch_dependent else 0,
            donor_sha256=donors.get(attack.item.donor, ""),
        )
        metrics = grid.metrics if explainer else []
        return Task(cell=cell, split=grid.split, explainer=explainer, attack=attack, metrics=metrics)

    if grid.accuracy_attack:
        tasks.append(attacked(grid.accuracy_attack, None))
    return tasks + [attacked(attack, explainer) for explainer in grid.explainers for attack in grid.attacks]
