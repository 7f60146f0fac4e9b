"""``publish RUN``: the weights that runs have trained join those that come with attrobust."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from attrobust import methods
from attrobust.benchmark import data
from attrobust.benchmark.checkpoints.card import SHIPPED, WeightCard, as_written
from attrobust.benchmark.checkpoints.commit import commit_of
from attrobust.benchmark.checkpoints.find import Checkpoint
from attrobust.benchmark.checkpoints.publish import Place, publish
from attrobust.benchmark.command.describe import typed
from attrobust.benchmark.command.saying import say, tell
from attrobust.benchmark.data.base import Dataset, Loaded
from attrobust.benchmark.data.checks import load_dataset
from attrobust.benchmark.request.methods import Defaults, resolve_methods
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.files import size_words
from attrobust.naming.component import resolve_one
from attrobust.naming.file_names import unsuitable
from attrobust.naming.lists import listed, refuse_empty
from attrobust.naming.spec import Spec
from attrobust.types import Settings, UsageError, percent

NAME = r"[a-z0-9][a-z0-9._-]*"
USUAL = "lenet"
"""The architecture that names leave out."""


def publish_runs(options: argparse.Namespace) -> int:
    """Publish what lies in the runs' folders; prints a line for each checkpoint and returns the exit code."""
    if bool(options.url) != bool(options.files):
        raise UsageError("--url needs --files, the folder that weight files are written into, and --files needs --url")
    cards = SHIPPED if options.to is None else options.to
    weights = options.files or cards
    refused = 0
    for path in _cards_in(options.runs, options.methods):
        try:
            card = WeightCard.read(path)
            _refuse_plugins(card)
            name = name_of(card, options.suffix, options.under)
            place = Place(name=name, cards=cards, weights=weights, url=options.url, largest=options.largest)
            images = _images_of(card.dataset["name"], _spec_of(card.dataset["settings"]), options.data_root)
            _check_images(card, images)
            commit = _commit_of(card.code, options.commit)
            trained = Checkpoint(weights=path.with_suffix(".pt"), card=card)
            outcome = publish(trained, images, place, commit, may_replace=options.replace)
        except UsageError as error:
            refused += 1
            tell(f"refused: {path.stem}: {error}")
            continue
        published = outcome.card.published
        assert published is not None
        say(
            f"{outcome.done:<9}  {name:<40}  test accuracy {percent(published.test_accuracy, '.2f'):>7}  "
            f"{size_words(published.size):>7}  commit {published.commit[:12]}"
        )
        sys.stdout.flush()
    return 1 if refused else 0


def name_of(card: WeightCard, suffix: str = "", under: str = "") -> str:
    """The name under which weights are published.

    Dataset and method, e.g. ``fashion-mnist/aga``; a model other than LeNet stands before the method; after it stand
    the settings that differ from those used when none are typed, and a seed other than 0.

    Args:
        card: of the weights.
        suffix: added to the name; empty for none.
        under: in the place of the dataset, e.g. ``cifar10-jpeg`` for images read from a folder; empty for the dataset.

    Raises:
        UsageError: the method is not registered, or the suffix leaves no valid name.
    """
    model, dataset = card.model["name"], card.dataset["name"]
    parts = [] if model == USUAL else [model]
    parts.append(card.method["name"])
    for key, value in _typed_settings(card).items():
        parts.append(f"{key}{typed(key, value)}".lower().replace("/", "-"))
    if card.seed:
        parts.append(f"seed{card.seed}")
    if suffix:
        parts.append(suffix)
    name = "-".join(parts)
    first = under or dataset
    for part in (first, name):
        if not re.fullmatch(NAME, part):
            raise UsageError(f"{part!r} is no name: lower-case letters, digits, '-', '_' and '.'")
        if problem := unsuitable(part):
            raise UsageError(f"{part!r} is no name: it {problem}")
    return f"{first}/{name}"


def _typed_settings(card: WeightCard) -> Settings:
    """The settings of a card's method that had to be typed: those that its dataset's recipe does not give it."""
    kind = data.registry.get(card.dataset["name"])
    defaults = Defaults(recipe=load_recipe(kind.recipe), dataset=card.dataset["name"], model=card.model["name"])
    (usual,) = resolve_methods([Spec.parse(card.method["name"])], defaults)
    given = as_written(dict(usual.canonical["settings"]))
    return {key: value for key, value in card.method["settings"].items() if given.get(key) != value}


def _cards_in(runs: Sequence[Path], names: str | None) -> list[Path]:
    """Cards of the finished trainings in runs; raises UsageError where there are none."""
    wanted = None if names is None else listed(names, "--methods")
    if wanted == []:
        refuse_empty("", "--methods")
    for name in wanted or ():
        methods.registry.check(name)
    found = []
    for run in runs:
        cards = sorted((run / "checkpoints").glob("*.toml"))
        if not cards:
            raise UsageError(f"{run} has no trained weights in checkpoints/; name the folder of a run that has trained")
        found += [path for path in cards if wanted is None or WeightCard.read(path).method["name"] in wanted]
    if not found:
        raise UsageError(f"no run has trained {names}")
    return found


def _refuse_plugins(card: WeightCard) -> None:
    if any(card.plugins):
        raise UsageError("a plug-in took part in its training, which those who download it do not have")


def _spec_of(settings: Settings) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items())


@functools.cache
def _images_of(name: str, settings: str, root: Path | None) -> Loaded:
    spec = f"{name}:{settings}" if settings else name
    return load_dataset(resolve_one(data.registry, spec, Dataset).item, root, name)


def _check_images(card: WeightCard, images: Loaded) -> None:
    """Raise UsageError unless the images are those that weights were trained and chosen on."""
    for split in ("train", "val"):
        if images.splits[split].sha256 != card.dataset[f"{split}_sha256"]:  # type: ignore[literal-required]
            raise UsageError(f"the {split} images of {card.dataset['name']} here are not those it was trained with")


_commit_of = functools.cache(commit_of)
