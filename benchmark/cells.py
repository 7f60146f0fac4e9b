"""The cells of a run: which networks, and what is measured of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from attacks.base import Attack
from attrobust.types import Cell
from benchmark.components import Component
from benchmark.data.base import Loaded
from benchmark.external import ExternalCheckpoint
from benchmark.provenance import EVALUATION, code_digest, plugin_digest
from benchmark.request import Request
from benchmark.store import row_fingerprint
from benchmark.training import image_facts
from benchmark.zoo import TrainingJob
from explainers.base import Explainer
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


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One row of the table.

    Attributes:
        label: as the table prints it.
        seed: of training; None for a user's checkpoint.
        source: how its network is made.
    """

    label: str
    seed: int | None
    source: TrainingJob | ExternalCheckpoint

    @property
    def facts(self) -> dict[str, Any]:
        """What the network is, apart from its weights."""
        model = self.source.model
        if isinstance(self.source, ExternalCheckpoint):
            return {"method": None, "model": model.canonical, "plugins": [plugin_digest(type(model.item))]}
        method = self.source.method
        plugins = [plugin_digest(type(method.item)), plugin_digest(type(model.item))]
        return {"method": method.canonical, "model": model.canonical, "plugins": plugins}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One cell with the metrics wanted of it; explainer and attack are None for clean accuracy."""

    cell: Cell
    explainer: Component[Explainer] | None
    attack: Component[Attack] | None
    metrics: list[Component[Metric]]

    @property
    def rows(self) -> list[tuple[str, dict[str, Any]]]:
        """Fingerprint and facts of every row of the cell, one per metric."""
        facts = [metric_facts(metric) for metric in self.metrics] if self.attack else [ACCURACY]
        cell = asdict(self.cell)
        return [(row_fingerprint(cell, item), item) for item in facts]

    @property
    def label(self) -> str:
        """Explainer and attack, as progress bars and logs say it."""
        return " / ".join(part.label for part in (self.explainer, self.attack) if part) or "accuracy"

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


def metric_facts(metric: Component[Metric]) -> dict[str, Any]:
    """What decides a metric's value, and what a table has to know of it."""
    kind = type(metric.item)
    return {
        **metric.canonical,
        "plugin": plugin_digest(kind),
        "label": metric.label,
        "title": " ".join(metric.item.title.split()),
        "higher_is_better": kind.higher_is_better,
        "scale": kind.scale,
        "decimals": kind.decimals,
    }


def subjects_of(request: Request, data: Loaded) -> list[Subject]:
    """The rows of the table in the order asked for: every method with every seed, then the user's checkpoints."""
    found = []
    for method in request.methods:
        for seed in request.protocol.seeds:
            job = TrainingJob(
                method=method,
                model=request.model,
                dataset=request.dataset,
                data=data,
                recipe=request.recipe,
                seed=seed,
                start=request.starts.get(method.item.start),
            )
            found.append(Subject(label=method.label, seed=seed, source=job))
    return found + [Subject(label=item.name, seed=None, source=item) for item in request.checkpoints]


def tasks_of(request: Request, data: Loaded, data_sha256: str, subject: Subject, sha256: str) -> list[Task]:
    """Every cell of a subject, clean accuracy first.

    Args:
        request, data: of the run.
        data_sha256: hash of the attacked images.
        subject: the row.
        sha256: of its weights.
    """
    protocol = request.protocol
    shared: dict[str, Any] = {
        "subject": {**subject.facts, "images": asdict(image_facts(data))},
        "checkpoint_sha256": sha256,
        "dataset": request.dataset.canonical,
        "seed": protocol.evaluation_seed,
        "protocol": f"{protocol.name} v{protocol.version}",
    }
    test = data.splits["test"]
    accuracy = Cell(
        **shared,
        data_sha256=test.sha256,
        images=len(test),
        explainer={},
        attack={},
        threat={},
        label="",
        reduction="",
        code=code_digest(EVALUATION, []),
    )
    tasks = [Task(cell=accuracy, explainer=None, attack=None, metrics=[])]
    for explainer in request.explainers:
        for attack in request.attacks:
            cell = Cell(
                **shared,
                data_sha256=data_sha256,
                images=protocol.images,
                explainer=explainer.canonical,
                attack=attack.canonical,
                threat=asdict(protocol.threat),
                label=protocol.label,
                reduction=protocol.reduction,
                code=code_digest(EVALUATION, [type(explainer.item), type(attack.item)]),
                batch_size=request.batch_size if attack.item.batch_dependent else 0,
            )
            tasks.append(Task(cell=cell, explainer=explainer, attack=attack, metrics=request.metrics))
    return tasks
