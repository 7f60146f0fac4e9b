"""Checkpoints: shipped with the package, trained into a run's folder, or brought by the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attrobust.spec import Spec, fingerprint
from attrobust.types import UsageError
from benchmark import models
from benchmark.cards import WeightCard
from benchmark.components import Component, resolve
from benchmark.data.base import Dataset, Loaded
from benchmark.files import file_sha256
from benchmark.models.base import ImageFacts, ModelFamily
from benchmark.provenance import TRAINING, code_digest, plugin_digest, versions
from benchmark.recipe import Recipe
from benchmark.training import image_facts, save_tensors, train
from methods import registry as methods
from methods.base import Method

SHIPPED = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that decides a checkpoint's weights.

    Attributes:
        method, model, dataset: with all their settings.
        data: the images.
        recipe: of training.
        seed: of training.
    """

    method: Component[Method]
    model: Component[ModelFamily]
    dataset: Component[Dataset]
    data: Loaded
    recipe: Recipe
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """Method, model, dataset and recipe as JSON values."""
        splits = {f"{name}_sha256": self.data.splits[name].sha256 for name in ("train", "val")}
        return {
            "method": self.method.canonical,
            "model": self.model.canonical,
            "dataset": {**self.dataset.canonical, **splits},
            "recipe": self.recipe.shared(),
        }

    @property
    def plugins(self) -> list[str]:
        """Digests of the files of a method and a model that are plug-ins, empty for ours."""
        return [plugin_digest(type(self.method.item)), plugin_digest(type(self.model.item))]

    @property
    def key(self) -> str:
        """Fingerprint of all of this."""
        return fingerprint([self.facts, self.seed, self.plugins])

    @property
    def code(self) -> str:
        """Digest of the sources that train."""
        return code_digest(TRAINING, [])


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights on disk with their card."""

    weights: Path
    card: WeightCard

    def network(self, method: Method, family: ModelFamily, facts: ImageFacts) -> nn.Module:
        """The network with these weights, evaluating; raises UsageError where the file is not what the card says."""
        found = file_sha256(self.weights) if self.weights.is_file() else "no file"
        if found != self.card.sha256:
            raise UsageError(f"{self.weights}: sha256 is {found}, its card says {self.card.sha256}; restore the file")
        model = method.prepare(family.build(facts))
        load_weights(model, read_state(self.weights), str(self.weights))
        return model


def find(job: TrainingJob, folder: Path, *, any_code: bool) -> Checkpoint | None:
    """The checkpoint of a job below ``folder``, or None.

    Args:
        job: what was trained.
        folder: searched with its subfolders.
        any_code: accept weights made by other training sources: true of the shipped ones, which are results in their
            own right, false of those a run made for itself.
    """
    for path in sorted(folder.rglob("*.toml")):
        card = WeightCard.read(path)
        if matches(card, job) and (any_code or card.code == job.code):
            return Checkpoint(weights=path.with_suffix(".pt"), card=card)
    return None


def matches(card: WeightCard, job: TrainingJob) -> bool:
    """Whether a card describes what a job would train.

    A setting that the card does not mention was added to its class later; it matches where the job has its default, so
    that a new setting does not turn away old weights.
    """
    if card.seed != job.seed or card.plugins != job.plugins:
        return False
    parts: list[tuple[dict[str, Any], dict[str, Any], Any]] = [
        (card.recipe, job.facts["recipe"], job.recipe),
        *((getattr(card, name), job.facts[name], getattr(job, name).item) for name in ("method", "model", "dataset")),
    ]
    for recorded, wanted, item in parts:
        old, new = ({**part, **part.get("settings", {}), "settings": None} for part in (recorded, wanted))
        defaults = {field.name: field.default for field in dataclasses.fields(item)}
        if set(old) - set(new) or any(old.get(key, defaults.get(key)) != value for key, value in new.items()):
            return False
    return True


def train_into(job: TrainingJob, folder: Path, device: torch.device, name: str) -> Checkpoint:
    """Train a job, or go on with its interrupted training, and save weights and card as ``folder/name``.

    Raises:
        TrainingError: see ``training.train``.
    """
    resume = folder / f"{job.key[:16]}-{job.code[:8]}.resume"
    trained = train(
        job.method.item,
        job.model.item,
        job.data,
        job.recipe,
        seed=job.seed,
        device=device,
        resume=resume,
        label=f"train {job.method.label}",
    )
    weights = folder / f"{name}.pt"
    save_tensors(weights, {key: value.cpu() for key, value in trained.model.state_dict().items()})
    card = WeightCard(
        sha256=file_sha256(weights),
        seed=job.seed,
        epoch=trained.epoch,
        val_accuracy=trained.accuracy,
        licence="MIT",
        code=job.code,
        plugins=job.plugins,
        versions=versions(),
        **job.facts,
    )
    card.write(weights.with_suffix(".toml"))
    resume.unlink(missing_ok=True)
    return Checkpoint(weights=weights, card=card)


def read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a file, without running any code from it; raises UsageError where it holds anything else."""
    if not path.is_file():
        raise UsageError(f"checkpoint file {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path} is not a file of plain weights ({reason})") from error
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} holds no state dict; save one with torch.save(model.state_dict(), path)")
    return state


def load_weights(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state dict exactly and put the model into evaluation mode; raises UsageError naming the first mismatch."""
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise UsageError(f"{origin} lacks {name!r}, which the model has; is it another architecture?")
        if state[name].shape != tensor.shape:
            raise UsageError(f"{origin}: {name!r} has shape {_shape(state[name])}, the model needs {_shape(tensor)}")
        if not state[name].isfinite().all():
            raise UsageError(f"{origin}: {name!r} has values that are not finite")
    for name in state:
        if name not in wanted:
            raise UsageError(f"{origin} has {name!r}, which the model lacks; is it another architecture?")
    model.load_state_dict(state)
    model.eval()


def shipped() -> list[tuple[str, Path]]:
    """Names and cards of the shipped checkpoints, e.g. ``digits/aga``."""
    cards = sorted(SHIPPED.glob("*/*.toml"))
    return [(f"{path.parent.name}/{path.stem}", path) for path in cards]


def load(name: str) -> nn.Module:
    """A shipped checkpoint as a network: pixels in [0, 1] to logits, in evaluation mode.

    Args:
        name: as ``--list checkpoints`` prints it, e.g. ``digits/aga``.

    Raises:
        UsageError: unknown name, or a damaged file.
    """
    known = dict(shipped())
    if name not in known:
        raise UsageError(f"unknown checkpoint {name!r}. Known: {', '.join(known)}")
    card = WeightCard.read(known[name])
    from benchmark import data

    (method,) = resolve(methods, [_spec(card.method)])
    (family,) = resolve(models.registry, [_spec(card.model)])
    (dataset,) = resolve(data.registry, [_spec(card.dataset)])
    facts = image_facts(dataset.item.load(None))
    return Checkpoint(weights=known[name].with_suffix(".pt"), card=card).network(method.item, family.item, facts)


def _spec(facts: Mapping[str, Any]) -> Spec:
    return Spec(facts["name"], {key: str(value) for key, value in facts["settings"].items()})


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
