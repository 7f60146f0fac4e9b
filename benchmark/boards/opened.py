"""What a stored cell was computed with, opened again: images, networks, explainer, attack and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, cast

from torch import nn

from attrobust import attacks, explainers, metrics
from attrobust.attacks.base import Attack
from attrobust.benchmark import data as datasets
from attrobust.benchmark import models
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.boards.weights import HANDED_IN, weight_files
from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.find import open_trained
from attrobust.benchmark.checkpoints.source import WeightFile
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.data.base import Dataset, Loaded, evaluation_sha256, image_facts
from attrobust.benchmark.data.checks import load_dataset
from attrobust.benchmark.evaluation.inputs import Rules
from attrobust.benchmark.executors.inputs import FirstImages, images_of
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.store.provenance import plugin_digest
from attrobust.benchmark.store.rows import MetricFacts, ScoredRow
from attrobust.explainers.base import Explainer
from attrobust.maps.reduction import Reduction
from attrobust.metrics.base import CaseMetric, Metric
from attrobust.naming.component import resolve
from attrobust.naming.registry import Registry
from attrobust.naming.spec import canonical, fingerprint, spec_of
from attrobust.threat import ThreatModel
from attrobust.types import Cell, Named, UsageError

T = TypeVar("T")


class Opener:
    """Opens what cells of a board were computed with; images and networks once.

    Args:
        board: the folder of the board.
        data_root: the folder that datasets are read from.
    """

    def __init__(self, board: Path, data_root: Path | None) -> None:
        self._board, self._root = board, data_root
        self._data: dict[str, Loaded] = {}
        self._networks: dict[str, nn.Module] = {}
        self._lists: dict[tuple[str, str, int], FirstImages] = {}

    def data(self, cell: Cell) -> Loaded:
        """The dataset of a cell; raises UsageError where it cannot be read."""
        key = fingerprint(cell.dataset)
        if key not in self._data:
            dataset = item_of(datasets.registry, cell.dataset, Dataset)  # type: ignore[type-abstract]
            self._data[key] = load_dataset(dataset, self._root, cell.dataset["name"])
        return self._data[key]

    def images(self, row: ScoredRow) -> FirstImages:
        """The list of images that a row is about.

        Raises:
            UsageError: the images that are found here are not those of the row.
        """
        split, cell = self.data(row.cell).splits[row.split], row.cell
        key = (fingerprint(cell.dataset), row.split, cell.images)
        if key not in self._lists:
            whole = cell.images == len(split) and cell.data_sha256 == split.sha256
            if not whole and (cell.images > len(split) or cell.data_sha256 != evaluation_sha256(split, cell.images)):
                raise UsageError(f"the {row.split} images of {cell.dataset['name']} here are not those of the board")
            self._lists[key] = images_of(split, cell.images)
        return self._lists[key]

    def network(self, cell: StoredCell) -> nn.Module:
        """The network of a cell, in evaluation mode on the CPU.

        Raises:
            UsageError: its weights are not there, or others.
        """
        facts = cell.rows[0].cell
        if facts.checkpoint_sha256 not in self._networks:
            self._networks[facts.checkpoint_sha256] = self._opened(cell)
        return self._networks[facts.checkpoint_sha256]

    def source_model(self, cell: StoredCell) -> nn.Module | None:
        """The source model of a cell's attack; None where it has none."""
        sha256 = cell.rows[0].cell.source_model_sha256
        if sha256 and sha256 not in self._networks:
            self._networks[sha256] = _trained(self._file(cell, sha256), sha256)
        return self._networks[sha256] if sha256 else None

    def _opened(self, cell: StoredCell) -> nn.Module:
        facts = cell.rows[0].cell
        sha256 = facts.checkpoint_sha256
        if facts.subject.method is not None and not cell.subject.is_untrained:
            return _trained(self._file(cell, sha256), sha256)
        loaded = self.data(facts)
        if cell.subject.is_untrained:
            return self._untrained(cell, loaded)
        weights = self._file(cell, sha256)
        (model,) = resolve(models.registry, [spec_of(facts.subject.model)], ModelFamily)
        source = WeightFile(path=weights)
        network, found = ExternalCheckpoint(name=cell.subject.label, source=source, model=model).open(
            image_facts(loaded)
        )
        if found != sha256:
            raise UsageError(f"{weights} are not the weights of the row")
        return network.eval()

    def _untrained(self, cell: StoredCell, loaded: Loaded) -> nn.Module:
        (model,) = resolve(models.registry, [spec_of(cell.subject.model)], ModelFamily)
        # Its seed is the first of those that the run trained with.
        seeds = [subject.seed for subject in cell.store.plan().subjects if subject.seed is not None]
        for seed in dict.fromkeys([*seeds, 0]):
            network, sha256 = Untrained(model=model, seed=seed).open(loaded)
            if sha256 == cell.rows[0].cell.checkpoint_sha256:
                return network
        raise UsageError("initial weights are drawn differently by the present code or libraries")

    def _file(self, cell: StoredCell, sha256: str) -> Path:
        found = weight_files(self._board, cell.store)
        if sha256 not in found:
            hint = f"put the file into {cell.store.folder / HANDED_IN}"
            raise UsageError(f"no weights with sha256 {sha256[:12]}… among those of the board and of attrobust; {hint}")
        return found[sha256]


def _trained(weights: Path, sha256: str) -> nn.Module:
    card = WeightCard.read(weights.with_suffix(".toml"))
    if card.sha256 != sha256:
        raise UsageError(f"{weights} are not the weights of the row")
    return open_trained(weights, card)


def item_of(registry: Registry[T], facts: Named, base: type[T]) -> T:
    """The instance that a canonical form stands for.

    Raises:
        UsageError: it is not registered, or has other settings by now.
    """
    (component,) = resolve(registry, [spec_of(facts)], base)
    if fingerprint(canonical(component.name, component.item)) != fingerprint(facts):
        raise UsageError(f"{registry.kind} {facts['name']} has other settings by now than the row knows")
    return component.item


def explainer_of(cell: Cell) -> Explainer:
    """The explainer of a cell that has one; raises UsageError as ``item_of`` does."""
    return item_of(explainers.registry, cell.explainer, Explainer)  # type: ignore[type-abstract]


def attack_of(cell: Cell) -> Attack:
    """The attack of a cell that has one; raises UsageError as ``item_of`` does."""
    return item_of(attacks.registry, cell.attack, Attack)  # type: ignore[type-abstract]


def metric_of(facts: MetricFacts) -> CaseMetric:
    """The metric of a row.

    Raises:
        UsageError: it is not registered, has other settings by now, or is of another plug-in file.
    """
    named: Named = {"name": facts.name, "settings": facts.settings}
    metric = item_of(metrics.registry, named, Metric)
    if plugin_digest(type(metric)) != facts.plugin:
        raise UsageError(f"metric {facts.label} is of another plug-in file than the row's")
    if not isinstance(metric, CaseMetric):
        raise UsageError(f"metric {facts.label} trains networks anew and is not computed again")
    return metric


def rules_of(cell: Cell, batch_size: int) -> Rules:
    """The rules that a cell was computed by.

    Args:
        cell: with or without an attack.
        batch_size: images at once, where the attack does not say.
    """
    return Rules(
        threat=ThreatModel(**cell.threat) if cell.threat else ThreatModel(eps=0.0),
        reduction=cast("Reduction", cell.reduction or "abs-sum"),
        label=cell.label or "predicted",
        seed=cell.seed,
        batch_size=cell.batch_size or batch_size,
    )
