"""The training loop of all methods: deterministic for a seed, and resumable with the same result."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attrobust.benchmark.data.base import Loaded, Split, image_facts
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.training.batches import epoch_batches
from attrobust.benchmark.training.recipe import Recipe
from attrobust.files import write_atomically
from attrobust.maps.seeds import derive_seed
from attrobust.methods.base import Batch, Method
from attrobust.networks.copying import independent_copy
from attrobust.places import ours
from attrobust.process import seed_all, seeded, standard
from attrobust.sealed import opened, sealed
from attrobust.types import ImageFacts, UsageError

LOG = logging.getLogger("attrobust")
PIXELS = 256 * 64 * 64
"""Pixels of the images that a CPU classifies at once at most: 20 of 224×224."""
STATE = {"job", "model", "optimizer", "epoch", "best_state", "best_epoch", "best_accuracy"}
"""Keys of the state that is saved after every epoch."""


class TrainingError(Exception):
    """Training failed; the message says at which step and why."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome of training.

    Attributes:
        model: with the weights of the best epoch, in evaluation mode.
        epoch: the epoch of highest validation accuracy, counted from 1; the latest among equals.
        accuracy: on the validation split at that epoch.
    """

    model: nn.Module
    epoch: int
    accuracy: float


def fresh_network(method: Method, family: ModelFamily, data: Loaded, seed: int) -> nn.Module:
    """A network with initial weights, which are the same for every method with the same seed."""
    with seeded(derive_seed("initial weights", seed)):
        return prepared(method, family, image_facts(data))


def prepared(method: Method, family: ModelFamily, facts: ImageFacts) -> nn.Module:
    """The network that a method trains, with weights that mean nothing yet; shared with nobody."""
    with standard():
        network = method.prepare(family.build(facts))
    return network if ours(type(method)) else independent_copy(network)


def train(
    method: Method,
    family: ModelFamily,
    data: Loaded,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    resume: Path,
    job: str = "",
    start: nn.Module | None = None,
    progress: str = "training",
) -> Trained:
    """Train one network.

    Args:
        method: supplies the network and the loss.
        family, data, recipe: what is trained, on what and how.
        seed: of initial weights, order, augmentation and the loss's random numbers.
        device: to train on.
        resume: file for the state after every epoch; if it exists and is intact, training continues from it. It is not
            removed.
        job: key of everything that decides the outcome; a state that was saved with another key is not gone on from.
        start: network whose weights are the initial ones; methods get it as ``Batch.start``. None for fresh weights.
        progress: label of the progress bar.

    Raises:
        TrainingError: the loss is not finite, or the method changes ``Batch.start``.
        UsageError: the state in ``resume`` is of another training.
    """
    model = fresh_network(method, family, data, seed).to(device)
    before = None
    if start is not None:
        model.load_state_dict(start.state_dict())
        before = independent_copy(start).to(device).eval().requires_grad_(False)
    optimizer = _optimizer(method, model, recipe)
    first, best = 0, Trained(model=model, epoch=0, accuracy=-1.0)
    best_state = independent_copy(model.state_dict())
    state = _saved_state(resume, device)
    if state is not None:
        if state["job"] != job:
            raise UsageError(f"{resume} is the state of another training; put the right file back, or remove it")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, best_state = state["epoch"], state["best_state"]
        best = Trained(model=model, epoch=state["best_epoch"], accuracy=state["best_accuracy"])
    split = data.splits["train"]
    batches = -(-len(split) // recipe.batch_size)
    total = recipe.epochs * batches
    with (
        tqdm(total=total, initial=first * batches, desc=progress, unit="batch", leave=False, disable=None) as bar,
        _reproducible(device),
    ):
        for epoch in range(first, recipe.epochs):
            seed_all(derive_seed("torch", seed, epoch))
            generator = torch.Generator(device).manual_seed(derive_seed("loss", seed, epoch))
            model.train()
            for number, (x, y, gaze) in enumerate(epoch_batches(split, recipe, seed, epoch, device)):
                done = (epoch * batches + number) / total
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate(done)
                batch = Batch(x=x, y=y, generator=generator, progress=done, start=before, gaze=gaze)
                steps = 0
                for loss in _apart(method.losses(model, batch)):
                    _step(method, model, optimizer, loss, recipe.clip, epoch)
                    steps += 1
                if not steps:
                    raise TrainingError(f"{type(method).__name__}.losses must yield at least one loss for every batch")
                bar.update()
            if start is not None and before is not None and not _same_weights(start, before):
                raise TrainingError(f"{type(method).__name__} changes batch.start; work on a copy of it")
            accuracy = float(correct(model, data.splits["val"], len(data.splits["val"]), device).double().mean())
            bar.set_postfix(epoch=epoch + 1, val_accuracy=f"{accuracy:.3f}")
            LOG.debug("%s: epoch %d, validation accuracy %.4f", progress, epoch + 1, accuracy)
            if accuracy >= best.accuracy:
                best = Trained(model=model, epoch=epoch + 1, accuracy=accuracy)
                best_state = independent_copy(model.state_dict())
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1, "job": job}
            best_so_far = {"best_state": best_state, "best_epoch": best.epoch, "best_accuracy": best.accuracy}
            save_state(resume, state | best_so_far)
    model.load_state_dict(best_state)
    model.eval()
    return best


def _same_weights(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name].to(value.device)) for name, value in a.state_dict().items())


def _apart(losses: Iterator[Tensor]) -> Iterator[Tensor]:
    """The losses, each computed under settings of the process that are put back before the step."""
    iterator = iter(losses)
    while True:
        with standard():
            try:
                loss = next(iterator)
            except StopIteration:
                return
        yield loss


def _step(
    method: Method, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float, epoch: int
) -> None:
    if not isinstance(loss, Tensor) or loss.dim():
        raise TrainingError(f"{type(method).__name__}.loss must return a scalar tensor")
    if not torch.isfinite(loss.detach()):
        raise TrainingError(f"the loss became {float(loss.detach())} in epoch {epoch + 1}")
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if clip:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


def correct(
    model: nn.Module, split: Split, end: int, device: torch.device, batch_size: int = 256, *, first: int = 0
) -> Tensor:
    """Whether each image from ``first`` up to, not including, ``end`` is classified correctly; sets evaluation mode."""
    model.eval()
    hits = []
    if device.type == "cpu":
        batch_size = max(1, min(batch_size, PIXELS // split.batch(range(1))[0][0, 0].numel()))
    with torch.no_grad():
        for start in range(first, end, batch_size):
            x, y = split.batch(range(start, min(start + batch_size, end)))
            hits.append(model(x.to(device)).argmax(dim=1).cpu() == y)
    return torch.cat(hits)


def save_tensors(path: Path, value: Any) -> None:
    """Write tensors and plain values atomically, as ``torch.load(weights_only=True)`` reads them."""
    write_atomically(path, _as_saved(value))


def save_state(path: Path, value: Any) -> None:
    """Write a state of training, with a digest before it: torch reads damaged numbers without a word."""
    write_atomically(path, sealed(_as_saved(value)))


def _as_saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _saved_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    if not path.exists():
        return None
    data = opened(path.read_bytes())
    if data is None:
        LOG.warning("%s is damaged; training from the first epoch", path)
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    if set(state) != STATE:
        LOG.warning("%s is not a state of training; training from the first epoch", path)
        return None
    return state


def _optimizer(method: Method, model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    parameters: list[dict[str, Any]] = []
    for decays in (True, False):
        chosen = [value for name, value in model.named_parameters() if method.decays(name) is decays]
        if chosen:
            parameters.append({"params": chosen, "weight_decay": decay if decays else 0.0})
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=decay)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, rate, weight_decay=decay)


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic kernels inside the block, with a warning where CUDA has none; restores random states."""
    with seeded(0):
        torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
        yield
