"""The cells of a network: what is measured of it, as jobs, and the keys of their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from msgspec import structs

from attrobust.attacks.base import Attack
from attrobust.benchmark.data.base import Loaded, guessing, image_facts
from attrobust.benchmark.executors.jobs import CellJob, NetworkJob
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.batches import Pieces, in_batches
from attrobust.benchmark.run.flags import audit_key
from attrobust.benchmark.run.grid import Grid
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.run.wording import method_wording, wording
from attrobust.benchmark.store.provenance import EVALUATION, code_digest, plugin_digest
from attrobust.benchmark.store.rows import ACCURACY, MetricFacts, row_fingerprint
from attrobust.benchmark.training.job import TrainingJob
from attrobust.explainers.base import Explainer
from attrobust.metrics.base import CaseMetric, Metric
from attrobust.naming.component import Component
from attrobust.naming.spec import fingerprint, settings_of
from attrobust.naming.validate import as_json
from attrobust.types import Cell, Named, Settings

ROBUST_ACCURACY = structs.replace(ACCURACY, label="robust-accuracy", name="robust-accuracy")
"""Accuracy under an attack on the prediction, which its title is to name."""


@dataclass(frozen=True, kw_only=True)
class PlacedCell:
    """A cell where it stands in the table.

    Attributes:
        column: the explainer as the table's column calls it; that of a sanity-check baseline is another one.
        job: what computes it.
        parts: what comes before it, see ``in_batches``.
    """

    column: str
    job: CellJob
    parts: Pieces = ()


def accuracy_facts(attack: Component[Attack]) -> MetricFacts:
    """Accuracy under an attack, described like a metric."""
    return structs.replace(ROBUST_ACCURACY, title=f"under {attack.name} (%)")


def metric_facts(metric: Component[Metric] | Component[CaseMetric]) -> MetricFacts:
    """What decides a metric's value, and what a table has to know of it."""
    kind = type(metric.item)
    return MetricFacts(
        name=metric.name,
        settings=settings_of(metric.item),
        plugin=plugin_digest(kind),
        label=metric.label,
        title=" ".join(f"{metric.item.title} {metric.item.convention}".split()),
        higher_is_better=kind.higher_is_better,
        scale=kind.scale,
        decimals=kind.decimals,
        unit=kind.bounds == (0.0, 1.0),
        scope=kind.scope,
    )


def rows_of(job: CellJob) -> list[tuple[str, MetricFacts]]:
    """Fingerprint and facts of every row of a cell, one per metric; final once the hashes of weights are filled in."""
    if job.metrics:
        facts = [metric_facts(metric) for metric in job.metrics]
    else:
        facts = [accuracy_facts(job.attack) if job.attack else ACCURACY]
    cell = asdict(job.cell)
    return [(row_fingerprint(cell, as_json(item)), item) for item in facts]


def with_weights(job: CellJob, sha256: str, source_model_sha256: str) -> CellJob:
    """A cell of networks with these weights; without any, and of no source model either, where there is no network."""
    lent = source_model_sha256 if sha256 else ""
    return replace(job, cell=replace(job.cell, checkpoint_sha256=sha256, source_model_sha256=lent))


def cells_of(
    request: Request,
    data: Loaded,
    grid: Grid,
    subject: Subject,
    network: NetworkJob,
    source_models: Mapping[str, NetworkJob],
    size_of: Callable[[CellJob], int],
) -> list[PlacedCell]:
    """Every cell of a subject, clean accuracy first where it is measured, then that under attack.

    Args:
        request, data: of the run.
        grid: what is measured, and on which images.
        subject: the row.
        network: its.
        source_models: the networks that attacks need, by name, as far as there are any.
        size_of: how many images of a cell are attacked together.
    """
    protocol, split = request.protocol, data.splits[grid.split]
    said = {"dataset": wording(request.dataset), "model": wording(subject.source.model)}
    if isinstance(subject.source, TrainingJob) and not subject.unchosen:
        said["method"] = method_wording(subject.source.method, request.defaults)
    shared: Settings = {
        "subject": subject.facts(image_facts(data)),
        "checkpoint_sha256": "",
        "dataset": request.dataset.canonical,
        "data_sha256": grid.data_sha256,
        "images": grid.images,
        "seed": protocol.evaluation_seed,
        "protocol": f"{protocol.name} v{protocol.version}",
    }

    def placed(
        metrics: Sequence[Component[Metric]],
        column: Component[Explainer] | None = None,
        attack: Component[Attack] | None = None,
        facts: Settings | None = None,
    ) -> PlacedCell:
        explainer = subject.explainer if column and subject.explainer else column
        attacked: Settings = {}
        if attack:
            attacked["threat"] = asdict(protocol.threat if explainer else protocol.accuracy_threat)
            attacked["batch_size"] = request.most_together if attack.item.batch_dependent else 0
        cell = Cell(
            **{**shared, **attacked, **(facts or {})},
            explainer=explainer.canonical if explainer else Named(),
            attack=attack.canonical if attack else Named(),
            label=protocol.label if metrics else "",
            reduction=protocol.reduction if explainer else "",
            code=code_digest(EVALUATION, [type(part.item) for part in (explainer, attack) if part]),
        )
        source_model = source_models.get(attack.item.source_model) if attack else None
        parts: dict[str, Component[Any] | None] = {"explainer": explainer, "attack": attack}
        networks = [network.key, *([source_model.key] if source_model else [])]
        wanted = [[metric.canonical, plugin_digest(type(metric.item))] for metric in metrics]
        # Flags warn of scores under attacks on explanations, in rows of the table that are ranked.
        ranked = grid.split == "test" and not subject.baseline
        on_explanation = explainer is not None and attack is not None and not attack.item.on_prediction
        audit = audit_key(network, cell) if request.audit and ranked and on_explanation else ""
        job = CellJob(
            key=fingerprint(["cell", networks, asdict(cell), wanted]),
            needs=(*networks, *([audit] if audit else [])),
            label=f"{subject.label} / {_words(grid, metrics, explainer, attack)}",
            group=subject.label,
            network=network,
            source_model=source_model,
            cell=cell,
            split=grid.split,
            split_sha256=split.sha256,
            metrics=tuple(metrics),
            explainer=explainer,
            attack=attack,
            audit=audit,
            wording=said | {name: wording(part) for name, part in parts.items() if part},
            guessing=None if metrics or attack else guessing(split.labels),
        )
        job, before = in_batches(job, size_of(job), keeps=request.keep_images)
        return PlacedCell(column=column.label if column else "", job=job, parts=before)

    cells = [placed([], facts={"data_sha256": split.sha256, "images": len(split)})] if grid.accuracy else []
    if grid.accuracy_attack:
        cells.append(placed([], attack=grid.accuracy_attack))
    if metrics := grid.of("attack"):
        cells += [placed(metrics, explainer, attack) for explainer in grid.explainers for attack in grid.attacks]
    if metrics := grid.of("map"):
        cells += [placed(metrics, explainer) for explainer in grid.explainers]
    if metrics := grid.of("network"):
        cells.append(placed(metrics))
    if retraining_metrics := grid.of("training"):
        anew = {
            "data_sha256": fingerprint({name: part.sha256 for name, part in data.splits.items()}),
            "images": len(split),
            "training": request.recipe.shared(tuning=False),
        }
        cells += [
            placed([retraining_metric], explainer, facts=anew)
            for explainer in grid.explainers
            for retraining_metric in retraining_metrics
        ]
    return cells


def _words(
    grid: Grid,
    metrics: Sequence[Component[Metric]],
    explainer: Component[Explainer] | None,
    attack: Component[Attack] | None,
) -> str:
    """Explainer and attack, or what is measured without them, as progress bars and logs say it."""
    scope = type(metrics[0].item).scope if metrics else "accuracy"
    parts = [part.label for part in (explainer, attack) if part]
    if scope in ("accuracy", "network"):
        parts = [scope, *parts]
    elif scope == "training":
        parts += [metric.label for metric in metrics]
    words = " / ".join(parts)
    return words if grid.split == "test" else f"{words} on validation images"
