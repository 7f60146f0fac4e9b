"""Resolves a command's options: every name, number, file and device is checked before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from attrobust import attacks, explainers, methods, metrics
from attrobust.attacks.base import Attack
from attrobust.benchmark import data, models
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint, parse_external
from attrobust.benchmark.checkpoints.untrained import check_baselines
from attrobust.benchmark.data.base import Dataset
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.request.aimed import aimed, all_aimed
from attrobust.benchmark.request.cluster import ClusterSettings, parse_executor
from attrobust.benchmark.request.criterion import (
    Criterion,
    ExplainerCriterion,
    chooses,
    make_criterion,
    make_explainer_criterion,
)
from attrobust.benchmark.request.methods import Defaults, resolve_methods, resolve_source_models, resolve_starts
from attrobust.benchmark.request.protocol import Protocol
from attrobust.benchmark.request.shard import Shard
from attrobust.benchmark.store.schema import How
from attrobust.benchmark.training.recipe import Recipe, load_recipe
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import budget_within
from attrobust.methods.base import Method
from attrobust.metrics.base import Metric
from attrobust.naming.component import Component, refuse_without_effect, resolve, resolve_one
from attrobust.naming.spec import Sweep, parse_specs, parse_sweeps
from attrobust.naming.suggest import did_you_mean
from attrobust.numbers import LARGEST, parse_number, parse_whole, quoted
from attrobust.types import UsageError

TOGETHER = 64
"""Images attacked together where there is memory for them: more are hardly faster, see ``chunks.CPU``."""
UNITS = {"": 2**30, "gb": 10**9, "mb": 10**6, "gib": 2**30, "mib": 2**20}
MOST_WORKERS = 10_000
"""Of a run."""
SIZE = re.compile(r"(.*?)\s*([gm]i?b|)", re.IGNORECASE)
"""Any text, with a unit or without one."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command with its options resolved.

    Attributes:
        protocol: of the evaluation.
        dataset, data_root, model: images and architecture.
        methods, checkpoints: the rows.
        sweeps: the specs of methods that list values in braces.
        criterion: by which the best member of a sweep is chosen; None where every member is a row.
        explainer_criterion: by which settings of explainers are chosen; None where every member is a column.
        starts: by name, the methods whose trained weights some of ``methods`` and ``source_models`` start from.
        source_models: by name, the methods that train the source models of transfer attacks.
        explainers, attacks, metrics: the columns; of explainers to be chosen, every setting.
        accuracy_attack: attack on the prediction, for the column of accuracy under attack; None where there is none.
        recipe: of training, for missing checkpoints.
        retrain: whether shipped checkpoints are ignored.
        interval: method of intervals over images; changes tables only.
        audit: whether networks and explainers are audited.
        strict: whether an explainer that does not suit one of the networks stops the run.
        device: to compute on, in this process and its workers; nodes of a cluster have their own.
        batch_size: images attacked together, as typed; None to choose by memory. Changes speed and memory only.
        memory: bytes that a process may take, as typed, on a GPU of its memory; None for a share of what is free.
            Changes speed and memory only.
        workers: how many processes compute; None to choose.
        cluster: that carries jobs out; None for this machine.
        plugins: files that were loaded, which other processes load too.
        keep_images: whether results of attacks are kept in the folder; changes no number.
        out: folder of the run.
        shard: which share of it is computed; None for all of it.
    """

    protocol: Protocol
    dataset: Component[Dataset]
    data_root: Path | None
    model: Component[ModelFamily]
    methods: list[Component[Method]]
    sweeps: list[Sweep]
    criterion: Criterion | None
    explainer_criterion: ExplainerCriterion | None
    starts: dict[str, Component[Method]]
    source_models: dict[str, Component[Method]]
    checkpoints: list[ExternalCheckpoint]
    explainers: list[Component[Explainer]]
    attacks: list[Component[Attack]]
    metrics: list[Component[Metric]]
    accuracy_attack: Component[Attack] | None
    recipe: Recipe
    retrain: bool
    interval: How
    audit: bool
    device: torch.device
    batch_size: int | None
    memory: int | None
    workers: int | None
    cluster: ClusterSettings | None
    plugins: tuple[Path, ...]
    keep_images: bool
    out: Path
    shard: Shard | None = None
    strict: bool = False

    @property
    def defaults(self) -> Defaults:
        """Settings of methods that are not typed."""
        return Defaults(recipe=self.recipe, dataset=self.dataset.name, model=self.model.name)

    @property
    def columns(self) -> int:
        """How many explainers the table has."""
        sweeps = self.explainer_criterion.sweeps if self.explainer_criterion else ()
        return len(self.explainers) - sum(len(sweep.candidates) - 1 for sweep in sweeps)

    @property
    def most_together(self) -> int:
        """How many images are attacked together at most."""
        return TOGETHER if self.batch_size is None else self.batch_size

    @property
    def chunks(self) -> int | None:
        """Bytes of activations at once in explainers; None for the device's default."""
        return None if self.memory is None else budget_within(self.memory, self.device)


def make_request(
    protocol: Protocol,
    *,
    checkpoints: Sequence[str],
    choose: str | None,
    accuracy_floor: str | None,
    recipe: str | None,
    epochs: int | None,
    data_root: Path | None,
    retrain: bool,
    interval: How,
    audit: bool,
    device: str,
    batch_size: int | None,
    memory: str | None,
    out: Path | None,
    workers: str = "1",
    executor: str = "local",
    gpus_per_job: str | None = None,
    plugins: Sequence[Path] = (),
    keep_images: bool = True,
    shard: Shard | None = None,
    strict: bool = False,
) -> Request:
    """Resolve a protocol and the options of the command line; raises UsageError on the first mistake."""
    cluster = parse_executor(executor, gpus_per_job, device)
    dataset = resolve_one(data.registry, protocol.dataset, Dataset)
    model = resolve_one(models.registry, protocol.model, ModelFamily)
    chosen = load_recipe(type(dataset.item).recipe if recipe is None else recipe, epochs)
    for name in chosen.methods:
        try:
            methods.registry.check(name)
        except UsageError as error:
            raise UsageError(f"recipe {recipe or type(dataset.item).recipe}: {error}") from error
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size} must be at least 1")
    check_baselines(protocol.baselines)
    external = [parse_external(text, model) for text in checkpoints]
    sweeps = parse_sweeps(",".join(protocol.methods), "--methods") if protocol.methods else []
    defaults = Defaults(recipe=chosen, dataset=dataset.name, model=model.name)
    resolved = resolve_methods([spec for sweep in sweeps for spec in sweep.specs], defaults)
    if resolved and model.item.activation == "softplus":
        raise UsageError(
            "activation=softplus is for --checkpoint; to train such a network, use --methods softplus:beta=3"
        )
    labels = [component.label for component in resolved] + [item.name for item in external]
    for i, name in enumerate(labels):
        if name in labels[:i]:
            raise UsageError(f"two rows would be called {name!r}; give the checkpoint another name")
    if not labels:
        raise UsageError("nothing to evaluate: give --methods, --checkpoint or both")
    explainer_sweeps = parse_sweeps(",".join(protocol.explainers), "--explainers")
    shown_explainers = resolve(
        explainers.registry, [spec for sweep in explainer_sweeps for spec in sweep.specs], Explainer
    )
    shown_attacks = resolve(attacks.registry, parse_specs(",".join(protocol.attacks), "--attacks"), Attack)
    columns = parse_specs(",".join(protocol.metrics), "--metrics")
    shown_metrics = resolve(metrics.registry, columns, Metric)
    for metric, spec in zip(shown_metrics, columns, strict=True):
        refuse_without_effect(metric.item, spec)
    shown_attacks = all_aimed(shown_attacks, shown_metrics)
    accuracy_attack = _accuracy_attack(protocol.accuracy_attack) if protocol.accuracy_attack else None
    criterion, explainer_criterion = None, None
    if choose is not None and chooses(choose, shown_metrics) == "explainers":
        explainer_criterion = make_explainer_criterion(
            choose, accuracy_floor, shown_metrics, explainer_sweeps, shown_explainers
        )
    elif choose is not None:
        if not any(sweep.is_swept for sweep in sweeps):
            swept = any(sweep.is_swept for sweep in explainer_sweeps)
            hint = "; explainers are chosen by a metric of clean images, such as insertion" if swept else ""
            raise UsageError(f"--choose needs a sweep to choose from, such as --methods 'aga:cosd={{0.1,1,10}}'{hint}")
        criterion = make_criterion(choose, accuracy_floor, shown_metrics, shown_attacks, shown_explainers)
        # An attack that is no column is aimed here, one that is has been.
        criterion = replace(criterion, attack=aimed(criterion.attack, [criterion.metric]))
    elif accuracy_floor is not None:
        raise UsageError("--accuracy-floor is for choosing from sweeps; give --choose METRIC too")
    attacking = [*shown_attacks, *([accuracy_attack] if accuracy_attack else [])]
    attacking += [criterion.attack] if criterion else []
    source_models = resolve_source_models(attacking, defaults)
    return Request(
        protocol=protocol,
        dataset=dataset,
        data_root=data_root,
        model=model,
        methods=resolved,
        sweeps=[sweep for sweep in sweeps if sweep.is_swept],
        criterion=criterion,
        explainer_criterion=explainer_criterion,
        starts=resolve_starts([*resolved, *source_models.values()], defaults),
        source_models=source_models,
        checkpoints=external,
        explainers=shown_explainers,
        attacks=shown_attacks,
        metrics=shown_metrics,
        accuracy_attack=accuracy_attack,
        recipe=chosen,
        retrain=retrain,
        interval=interval,
        audit=audit,
        strict=strict,
        device=find_device("cpu" if cluster else device),
        batch_size=batch_size,
        memory=None if memory is None else _bytes(memory),
        workers=_workers(workers),
        cluster=cluster,
        plugins=tuple(plugins),
        keep_images=keep_images,
        out=Path("results") / "runs" / f"{protocol.name}{shard.suffix if shard else ''}" if out is None else out,
        shard=shard,
    )


def _accuracy_attack(text: str) -> Component[Attack]:
    attack = resolve_one(attacks.registry, text, Attack)
    if not attack.item.on_prediction:
        raise UsageError(f"--accuracy-attack {text}: {attack.name} moves explanations, not predictions; use apgd")
    return attack


def _bytes(text: str) -> int:
    match = SIZE.fullmatch(text.strip())
    assert match is not None
    try:
        size = parse_number(match[1])
    except ValueError as error:
        raise UsageError(f"--memory {error}; write 4GB, 512MB or 4, which is GiB") from None
    size *= UNITS[match[2].lower()]
    if not 0 < size < LARGEST:
        raise UsageError(
            f"--memory {text} must be above 0, and what a machine may have; write 4GB, 512MB or 4, which is GiB"
        )
    return max(1, int(size))


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        count = parse_whole(text)
    except ValueError:
        count = 0
    if not 1 <= count <= MOST_WORKERS:
        raise UsageError(f"--workers {quoted(text)} must be a number of processes from 1 to {MOST_WORKERS:,}, or auto")
    return count


DEVICES = ("auto", "cpu", "cuda", "mps")


def find_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA if present, else the CPU. Raises UsageError for a missing device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"(cpu|mps|cuda)(?::(\d+))?", name)
    if match is None or (match[2] and match[1] != "cuda"):
        raise UsageError(f"unknown device {name!r}.{did_you_mean(name, DEVICES)} Use auto, cpu, cuda, cuda:0 or mps")
    if match[1] == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: this machine has none; use --device cpu")
    if match[1] == "cuda" and int(match[2] or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"--device {name}: torch sees {count} CUDA devices here; use --device cpu")
    return torch.device(name)
