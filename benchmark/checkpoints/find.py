"""Finds the checkpoint of a training job among the shipped and the trained ones, or trains it."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from attrobust.benchmark.checkpoints.card import (
    WeightCard,
    as_written,
    shipped,
    shipped_folders,
    shipped_path,
    stem_of,
    tail_of,
)
from attrobust.benchmark.checkpoints.download import Remote, download
from attrobust.benchmark.checkpoints.holders import read_weights
from attrobust.benchmark.checkpoints.source import parts_of
from attrobust.benchmark.checkpoints.state_dict import load_weights
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.data.halves import default_root
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.store.provenance import versions
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import prepared, save_tensors, train
from attrobust.files import file_sha256
from attrobust.methods.base import Method
from attrobust.naming.spec import fingerprint
from attrobust.networks.copying import independent_copy
from attrobust.process import seeded
from attrobust.types import ImageFacts, Settings, UsageError

LOG = logging.getLogger("attrobust")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights on disk with their card.

    Attributes:
        weights: their file, or where it comes to lie when it is downloaded.
        card: of the weights.
        remote: where the file is downloaded from; None where it is not.
    """

    weights: Path
    card: WeightCard
    remote: Remote | None = None

    @property
    def intact(self) -> bool:
        """Whether the weight file is the one the card was written for."""
        return self.weights.is_file() and file_sha256(self.weights) == self.card.sha256

    @property
    def is_missing(self) -> bool:
        """Whether the weights have to be downloaded."""
        return self.remote is not None and not self.weights.is_file()

    def fetch(self) -> None:
        """Download the weights where they are not here; raises UsageError where that fails."""
        if self.remote is not None and not self.intact:
            download(self.remote, self.weights)

    def network(self, method: Method, family: ModelFamily, facts: ImageFacts) -> nn.Module:
        """The network with these weights, in evaluation mode; raises UsageError where the file is not intact."""
        self.fetch()
        if not self.intact:
            raise UsageError(f"{self.weights} is missing or not what its card says (sha256); restore the file")
        with seeded(0):
            model = prepared(independent_copy(method), family, facts)
            load_weights(model, read_weights(self.weights)[0], str(self.weights))
        return model


def find_shipped(job: TrainingJob) -> Checkpoint | None:
    """The shipped checkpoint of a job, whatever version of the sources trained it; None where there is none."""
    for name, path, card in _shipped_of(shipped_folders()).get(job.method.name, ()):
        if matches(card, job):
            return _shipped(name, path, card)
    return None


def _shipped(name: str, path: Path, card: WeightCard) -> Checkpoint:
    """A shipped checkpoint, whose weights lie beside its card or are downloaded into a cache folder."""
    published = card.published
    if published is None or not published.url:
        return Checkpoint(weights=path.with_suffix(".pt"), card=card)
    remote = Remote(name=name, url=published.url, sha256=card.sha256, size=published.size)
    return Checkpoint(
        weights=default_root() / "checkpoints" / f"{name}-{card.sha256[:12]}.pt", card=card, remote=remote
    )


@functools.lru_cache(maxsize=1)
def _shipped_of(_folders: tuple[tuple[Path, int], ...]) -> Mapping[str, list[tuple[str, Path, WeightCard]]]:
    """By method, the shipped cards with their names and paths, read once; a run asks of every cell."""
    found: dict[str, list[tuple[str, Path, WeightCard]]] = {}
    for name, path in shipped().items():
        card = WeightCard.read(path)
        found.setdefault(card.method["name"], []).append((name, path, card))
    return found


def find_trained(job: TrainingJob, folder: Path, start: Checkpoint | None = None) -> Checkpoint | None:
    """The checkpoint trained earlier for a job with the present sources; None where it is missing or not intact.

    Args:
        job: of training.
        folder: of the run's checkpoints.
        start: checkpoint of ``job.before``, where there is one; with other initial weights it is another checkpoint.

    Raises:
        UsageError: the files in its place are those of another training.
    """
    path = _place(folder, job, start, ".toml")
    if not path.is_file():
        return None
    try:
        checkpoint = Checkpoint(weights=path.with_suffix(".pt"), card=WeightCard.read(path))
    except UsageError as error:
        LOG.warning("%s; training again", error)
        return None
    if other := _differences(checkpoint.card, job, start):
        raise UsageError(
            f"{path} is the card of another training ({checkpoint.card.words}; other {', '.join(other)}): "
            f"put the files of {job.method.label} with seed {job.seed} back in its place, or remove it to train again"
        )
    if not checkpoint.intact:
        LOG.warning("%s is not what its card says; training again", checkpoint.weights)
        return None
    return checkpoint


def _key(job: TrainingJob, start: Checkpoint | None) -> str:
    return job.key if start is None else fingerprint([job.key, start.card.sha256])


def _place(folder: Path, job: TrainingJob, start: Checkpoint | None, suffix: str) -> Path:
    """Where a file of a training lies in a run's folder, however its settings were typed; else where it is to lie."""
    key = _key(job, start)
    tail = tail_of(job.seed, key, job.code)
    found = (path for path in sorted(folder.glob(f"{job.method.name}*{tail}{suffix}")) if _is_of(path.stem, job, tail))
    return next(found, folder / f"{stem_of(job.method.label, job.seed, key, job.code)}{suffix}")


def _is_of(stem: str, job: TrainingJob, tail: str) -> bool:
    """Whether a name is that of a method, and not of one whose name begins with the same letters."""
    return stem.removesuffix(tail).removeprefix(job.method.name)[:1] in ("", "-")


def _differences(card: WeightCard, job: TrainingJob, start: Checkpoint | None) -> list[str]:
    """In what a card is not that of a job trained by the present sources."""
    found = differences(card, job)
    if card.code != job.code:
        found.append("code")
    if card.start_sha256 != (start.card.sha256 if start else ""):
        found.append("start_sha256")
    if card.job and card.job != _key(job, start):
        found.append("job")
    return found


def matches(card: WeightCard, job: TrainingJob) -> bool:
    """Whether a card describes the weights that a job would train."""
    return not differences(card, job)


def differences(card: WeightCard, job: TrainingJob) -> list[str]:
    """Names of the facts in which the weights of a card are not those that a job would train.

    Manipulated weights are those of no job.

    A setting that the card lacks was added to its class later; it matches where the job has its default, so that old
    weights are still found after a setting is added.
    """
    found = [name for name in ("seed", "plugins") if getattr(card, name) != getattr(job, name)]
    found += ["manipulation"] if card.manipulation else []
    items: Settings = {name: getattr(job, name).item for name in ("method", "model", "dataset")}
    items |= {"recipe": job.recipe} | ({"start": job.start.item} if job.start else {})
    written = asdict(card)
    for name, wanted in job.facts.items():
        old, new = (as_written({**part, **part.get("settings", {}), "settings": 0}) for part in (written[name], wanted))
        fields = dataclasses.fields(items[name]) if name in items else ()
        defaults = {field.name: as_written(field.default) for field in fields}
        if set(old) - set(new) or any(old.get(key, defaults.get(key)) != value for key, value in new.items()):
            found.append(name)
    return found


def train_into(
    job: TrainingJob, data: Loaded, folder: Path, device: torch.device, start: Checkpoint | None = None
) -> Checkpoint:
    """Train a job, or go on with its interrupted training, and save weights and card in ``folder``.

    Args:
        job: what is trained.
        data: the images it names.
        folder: of the run's checkpoints.
        device: to train on.
        start: checkpoint of ``job.before``, where there is one.

    Raises:
        TrainingError: see ``training.train``.
        UsageError: the file of ``start`` is not what its card says, or the state to go on from is of another training.
        ValueError: the images are others than the job names.
    """
    if (job.train_sha256, job.val_sha256) != tuple(data.splits[name].sha256 for name in ("train", "val")):
        raise ValueError(f"{job.method.label} is to be trained on other images than these")
    resume = _place(folder, job, start, ".resume")
    weights = resume.with_suffix(".pt")
    before = None
    if start is not None and job.start is not None:
        before = start.network(job.start.item, job.model.item, job.images)
    trained = train(
        independent_copy(job.method.item),
        job.model.item,
        data,
        job.recipe.tuning() if job.start else job.recipe,
        seed=job.seed,
        device=device,
        resume=resume,
        job=_key(job, start),
        start=before,
        progress=f"train {job.method.label}",
    )
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
        start_sha256="" if start is None else start.card.sha256,
        job=_key(job, start),
        **{**job.facts, "images": job.images},
    )
    card.write(weights.with_suffix(".toml"))
    resume.unlink(missing_ok=True)
    return Checkpoint(weights=weights, card=card)


def load(name: str | Path) -> nn.Module:
    """A checkpoint as a network: pixels in [0, 1] to logits, in evaluation mode; computes in float32.

    Args:
        name: of a shipped checkpoint, as ``--list checkpoints`` prints it, e.g. ``digits/aga``; or the path of weights
            that a run trained, ``RUN/checkpoints/….pt``, beside which their card lies.

    Raises:
        UsageError: unknown name, weights without a card, a damaged file, or a download that fails.
    """
    path = Path(name).expanduser()
    if path.suffix in (".pt", ".toml") or path.is_file():
        return _trained(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; attrobust.load_run opens the networks of a run")
    path = shipped_path(str(name))
    card = WeightCard.read(path)
    return _shipped(str(name), path, card).network(*parts_of(card))


def _trained(path: Path) -> nn.Module:
    """The network of weights with a card beside them."""
    path = path.with_suffix(".pt") if path.suffix == ".toml" else path
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    card = path.with_suffix(".toml")
    if not card.is_file():
        raise UsageError(
            f"{path} has no card beside it ({card.name}), which says what network it is of; run_benchmark.py "
            f"--checkpoint NAME={path}:MODEL evaluates weights of others"
        )
    return open_trained(path, WeightCard.read(card))


def open_trained(weights: Path, card: WeightCard) -> nn.Module:
    """The network of trained weights; raises UsageError where the file is not what its card says."""
    return Checkpoint(weights=weights, card=card).network(*parts_of(card))
