"""Where the weights of a board's networks lie, by their sha256. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrobust.benchmark.checkpoints.card import WeightCard, shipped
from attrobust.benchmark.store.store import Store
from attrobust.files import file_sha256
from attrobust.types import UsageError

HANDED_IN = "weights"
"""The folder of a submission with weights that were not trained here, ``NAME.pt``."""


def weight_files(board: Path, store: Store) -> dict[str, Path]:
    """Weight files by sha256: of a run, of the whole board, and those that come with attrobust.

    A file is found by its card, whose hash it must have, or in ``weights/`` by its own hash.

    Args:
        board: the folder of the board.
        store: one run of it.
    """
    found: dict[str, Path] = {}
    for card in _cards(board, store):
        weights = card.with_suffix(".pt")
        try:
            sha256 = WeightCard.read(card).sha256
        except UsageError:
            continue  # verify says what is wrong with it.
        if sha256 not in found and weights.is_file() and file_sha256(weights) == sha256:
            found[sha256] = weights
    for folder in (store.folder, board):
        for weights in sorted((folder / HANDED_IN).glob("*")):
            found.setdefault(file_sha256(weights), weights)
    return found


def _cards(board: Path, store: Store) -> Iterator[Path]:
    for folder in dict.fromkeys((store.folder / "checkpoints", board / "checkpoints")):
        yield from sorted(folder.glob("*.toml"))
    yield from shipped().values()
