"""Publishes trained weights: in half precision, with a card that has their test accuracy."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from attrobust.benchmark.checkpoints.card import Published, WeightCard
from attrobust.benchmark.checkpoints.commit import UNKNOWN
from attrobust.benchmark.checkpoints.find import Checkpoint
from attrobust.benchmark.checkpoints.holders import State, read_weights
from attrobust.benchmark.checkpoints.source import parts_of
from attrobust.benchmark.checkpoints.state_dict import load_weights
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.training.loop import correct
from attrobust.files import file_sha256, write_atomically
from attrobust.networks.copying import independent_copy
from attrobust.types import UsageError, percent

LARGEST = 500_000
"""Bytes of a weight file from which on it is not shipped with the package unless that is asked for."""
TOLERANCE = 0.002
"""Difference in test accuracy that half precision may make; one image may change sides whatever its share."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where weights are published.

    Attributes:
        name: as ``attrobust.load`` takes it, e.g. ``fashion-mnist/aga``.
        cards: folder that the card is written into, below the name of the dataset.
        weights: the same of the weight file.
        url: that files below ``weights`` are downloaded from; empty where they are shipped.
        largest: size from which on a file is not shipped, in bytes.
    """

    name: str
    cards: Path
    weights: Path
    url: str = ""
    largest: int = LARGEST

    @property
    def card(self) -> Path:
        """Path of the card."""
        return self.cards / f"{self.name}.toml"

    @property
    def file(self) -> Path:
        """Path of the weight file."""
        return self.weights / f"{self.name}.pt"

    @property
    def address(self) -> str:
        """URL of the weight file; empty where it is shipped."""
        return f"{self.url.rstrip('/')}/{self.name}.pt" if self.url else ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one checkpoint: its card, and whether it was there before."""

    card: WeightCard
    done: Literal["published", "replaced", "unchanged"]


def publish(trained: Checkpoint, data: Loaded, place: Place, commit: str, *, may_replace: bool) -> Outcome:
    """Write the weights of a run in half precision, and their card.

    Args:
        trained: by a run.
        data: the images it was trained on, with their test split.
        place: where it is published.
        commit: that trained it.
        may_replace: whether other weights of the same name may be replaced, by a new version.

    Raises:
        UsageError: the file is not what its card says, does not fit half precision, is too large to be shipped, or
            would replace other weights.
    """
    if not trained.intact:
        raise UsageError(f"{trained.weights} is missing or not what its card says (sha256)")
    halved = in_half(read_weights(trained.weights)[0], str(trained.weights))
    content = _file_of(halved)
    if not place.url and len(content) >= place.largest:
        raise UsageError(
            f"{place.name}: {len(content):,} bytes are too many for the package, which ships files below "
            f"{place.largest:,}; name with --url where they will be downloaded from, or raise --largest"
        )
    before = WeightCard.read(place.card) if place.card.is_file() else None
    version = 1
    if before is not None:
        if _holds(before, place, halved, content):
            return _unchanged(before, place, commit, content)
        version = 1 + (before.published.version if before.published else 1)
        if not may_replace:
            raise UsageError(
                f"{place.name} is published with other weights ({before.words}, sha256 {before.sha256[:12]}); "
                f"--replace publishes these as version {version}, and rows on disk keep the sha256 of theirs"
            )
    accuracy = _accuracy(trained, halved, data, place.name)
    write_atomically(place.file, content)
    published = Published(
        test_accuracy=accuracy,
        test_images=len(data.splits["test"]),
        commit=commit,
        precision="float16",
        size=len(content),
        version=version,
        url=place.address,
    )
    card = replace(trained.card, sha256=file_sha256(place.file), job="", published=published)
    card.write(place.card)
    return Outcome(card=card, done="published" if version == 1 else "replaced")


def in_half(state: State, origin: str) -> State:
    """Weights in half precision; whole numbers stay as they are.

    Args:
        state: the weights.
        origin: name of their source, for errors.

    Raises:
        UsageError: a weight is not finite, or beyond the largest number of half precision.
    """
    halved = {}
    for name, tensor in state.items():
        halved[name] = tensor.half() if tensor.is_floating_point() else tensor
        if not halved[name].isfinite().all():
            largest, limit = float(tensor.abs().max()), torch.finfo(torch.float16).max
            raise UsageError(f"{origin}: {name!r} reaches {largest:g}, and half precision ends at {limit:g}")
    return halved


def accuracy_on_test(network: nn.Module, data: Loaded) -> float:
    """Share of the whole test split that a network classifies correctly."""
    split = data.splits["test"]
    return float(correct(network, split, len(split), torch.device("cpu")).double().mean())


def _accuracy(trained: Checkpoint, halved: State, data: Loaded, name: str) -> float:
    """Test accuracy in half precision; raises UsageError where it is not that of the trained network."""
    network = trained.network(*parts_of(trained.card))
    full = accuracy_on_test(network, data)
    rounded = independent_copy(network)
    load_weights(rounded, halved, str(trained.weights))
    half = accuracy_on_test(rounded, data)
    if abs(full - half) > max(TOLERANCE, 1.001 / len(data.splits["test"])):
        raise UsageError(
            f"{name}: test accuracy is {percent(half, '.2f')} in half precision and {percent(full, '.2f')} before, "
            f"more than {percent(TOLERANCE)} apart"
        )
    return half


def _holds(card: WeightCard, place: Place, halved: State, content: bytes) -> bool:
    """Whether a published card is that of these weights; files of equal weights differ between versions of torch."""
    if card.sha256 == hashlib.sha256(content).hexdigest():
        return True
    return Checkpoint(weights=place.file, card=card).intact and _same(read_weights(place.file)[0], halved)


def _unchanged(card: WeightCard, place: Place, commit: str, content: bytes) -> Outcome:
    """Leave what is published; a file that is not whole is restored, and the card told what it did not know."""
    if not Checkpoint(weights=place.file, card=card).intact:
        write_atomically(place.file, content)
    if card.published is None:
        return Outcome(card=card, done="unchanged")
    known = commit if card.published.commit == UNKNOWN else card.published.commit
    now = replace(card, published=replace(card.published, commit=known, url=place.address))
    if now != card:
        now.write(place.card)
    return Outcome(card=now, done="unchanged")


def _same(first: State, second: State) -> bool:
    return list(first) == list(second) and all(
        tensor.dtype == second[name].dtype and torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def _file_of(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save({name: tensor.clone() for name, tensor in state.items()}, buffer)
    return buffer.getvalue()
