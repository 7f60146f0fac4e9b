"""Whether weights and rows are those of the trainings that they are said to be of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from attrobust.benchmark.checkpoints.card import WeightCard, as_written, checkpoints
from attrobust.benchmark.store.damage import Problem
from attrobust.benchmark.store.rows import Row, Training
from attrobust.benchmark.store.store import Store
from attrobust.files import file_sha256
from attrobust.types import Settings, UsageError

Cards = Mapping[str, Sequence[WeightCard]]
"""By sha256 of the weights; the same weights may come of several trainings."""


def read_cards(store: Store) -> tuple[dict[str, list[WeightCard]], list[Problem]]:
    """The cards of a run's checkpoints and of the shipped ones, and what is wrong with the run's own."""
    found: dict[str, list[WeightCard]] = {}
    problems = []
    for path in sorted((store.folder / "checkpoints").glob("[!.]*.toml")):
        weights = path.with_suffix(".pt")
        try:
            card = WeightCard.read(path)
        except UsageError as error:
            problems.append(Problem(words=str(error), files=(path,)))
            continue
        if not card.is_of(path.stem):
            words = f"{path} is the card of another training ({card.words}): put the right files back"
            problems.append(Problem(words=words, files=(path, weights)))
        if not weights.is_file() or file_sha256(weights) != card.sha256:
            problems.append(Problem(words=f"{weights} is missing or not what its card says", files=(weights, path)))
        found.setdefault(card.sha256, []).append(card)
    for card in checkpoints().values():
        found.setdefault(card.sha256, []).append(card)
    return found, problems


def readable_cards(stores: Iterable[Store]) -> list[WeightCard]:
    """The cards in the folders of runs that can be read, and the shipped ones; ``verify`` names the others."""
    found = []
    for path in (path for store in stores for path in sorted((store.folder / "checkpoints").glob("[!.]*.toml"))):
        with suppress(UsageError):
            found.append(WeightCard.read(path))
    return [*found, *checkpoints().values()]


def row_problems(rows: Mapping[str, Row], cards: Cards) -> Iterator[tuple[str, str]]:
    """Fingerprints of rows whose weights have cards, and all of these are of other trainings; with a line of words."""
    for key, row in rows.items():
        known = cards.get(row.cell.checkpoint_sha256, ())
        if row.cell.subject.method is not None and known and not any(is_of(card, row) for card in known):
            yield key, f"row {key[:12]} ({row.metric.label}): its weights are those of {known[0].words}"


def is_of(card: WeightCard, row: Row) -> bool:
    """Whether a card describes the network of a row of a method; that of a manipulated network describes none."""
    subject = row.cell.subject
    pairs = [(card.method, subject.method), (card.model, subject.model)]
    trained = row.trained is None or agrees(card, row.trained)
    return trained and not card.manipulation and all(_within(mine, theirs) for mine, theirs in pairs)


def agrees(card: WeightCard, training: Training) -> bool:
    """Whether a training is a card's, as far as both say; settings that were added later are not in older cards."""
    if card.seed != training.seed or card.start.get("name") != training.start.get("name"):
        return False
    hashes = ("train_sha256", "val_sha256")
    same = all(training.dataset.get(key) in (None, card.dataset.get(key)) for key in hashes)
    return same and _within({"settings": card.recipe}, {"settings": training.recipe})


def _within(card: Any, other: Any) -> bool:
    """Whether a component of a card is another one, but for settings that the card does not know."""
    mine, theirs = (as_written(asdict(item) if not isinstance(item, dict) else item) for item in (card, other or {}))
    settings: Settings = theirs.get("settings", {})
    known = all(settings.get(key) == value for key, value in mine["settings"].items())
    return known and mine.get("name") == theirs.get("name")
