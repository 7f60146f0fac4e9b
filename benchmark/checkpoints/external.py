"""Resolves ``--checkpoint`` to weights and the architecture they are for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.card import WeightCard, shipped, shipped_path
from attrobust.benchmark.checkpoints.packages import PACKAGES
from attrobust.benchmark.checkpoints.source import Source, WeightFile
from attrobust.benchmark.checkpoints.state_dict import MismatchError, fitting_model, other_classes
from attrobust.benchmark.models.base import ModelFamily
from attrobust.naming.component import Component, resolve
from attrobust.naming.file_names import not_a_file, not_a_path
from attrobust.naming.spec import Spec, spec_of
from attrobust.process import seeded
from attrobust.types import ImageFacts, UsageError

DRIVE = r"[A-Za-z]:[\\/]"
"""How a path begins on a drive of Windows, whose colon is no end of it."""


@dataclass(frozen=True, kw_only=True)
class ExternalCheckpoint:
    """A user's weights: ``--checkpoint NAME=SOURCE[:model]``."""

    name: str
    source: Source
    model: Component[ModelFamily]

    def open(self, facts: ImageFacts) -> tuple[nn.Module, str]:
        """The network with its weights, in evaluation mode, and the sha256 of the weights.

        Raises:
            ValueError: the architecture does not fit the images.
            UsageError: the weights cannot be read or do not fit the architecture; names a registered one that they fit.
        """
        trained = self.source.classes
        if trained is not None and trained != facts.classes:
            raise UsageError(f"{self.source.origin} {other_classes(trained, facts.classes)}")
        try:
            with seeded(0):
                network = self.model.item.build(facts)
                return network, self.source.fill(network, type(self.model.item).unused)
        except MismatchError as error:
            other = fitting_model(error.states, facts)
            hint = f"the model {other!r} would fit" if other else "is it another architecture?"
            raise UsageError(f"{error}; {hint}") from error


def parse_external(text: str, default: Component[ModelFamily]) -> ExternalCheckpoint:
    """Resolve ``NAME=FILE``, ``NAME=FILE:model``, ``NAME=FILE:key=KEY`` or ``NAME=PACKAGE/NETWORK[:settings]``.

    So is ``NAME=DATASET/NETWORK`` of a manipulated network that comes with attrobust. ``key``, alone or among the
    settings of the model, says which weights of the file are meant.

    Args:
        text: as typed.
        default: the model for a file that is typed without one.

    Raises:
        UsageError: another form, no such file, or a network that the package does not have.
    """
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not (name and equals and rest):
        raise UsageError(f"--checkpoint {text!r} is not NAME=FILE, NAME=FILE:model or NAME=torchvision/NETWORK")
    pieces = rest.split(":")
    first = 2 if re.match(DRIVE, rest) else 1
    for count in range(first, len(pieces) + 1):
        file = Path(":".join(pieces[:count]))
        if not not_a_path(str(file)) and file.is_file():
            model, key = _model_and_key(name, ":".join(pieces[count:]), default)
            return ExternalCheckpoint(name=name, source=WeightFile(path=file, key=key), model=model)
    which, colon, _ = rest.partition(":")
    if which in shipped():
        if colon:
            raise UsageError(f"--checkpoint {name}: the card of {which} says its model; leave out {rest[len(which) :]}")
        return _manipulated(name, which)
    package, slash, _ = rest.partition("/")
    if not slash or package not in PACKAGES:
        if problem := not_a_path(rest):
            raise UsageError(f"--checkpoint {name}: {problem}")
        file = Path(":".join(pieces[:first]))
        problem = "is a folder; name the weight file in it" if file.is_dir() else not_a_file(file)
        raise UsageError(f"--checkpoint {name}: {file} {problem}")
    network = Spec.parse(rest)
    if "name" in network.settings:
        raise UsageError(f"--checkpoint {name}: {network.name} is the name; leave out name={network.settings['name']}")
    try:
        source, model = PACKAGES[package](network.name.partition("/")[2], dict(network.settings))
    except ValueError as error:
        raise UsageError(f"--checkpoint {name}: {network.name}: {error}") from error
    return ExternalCheckpoint(name=name, source=source, model=model)


def _manipulated(name: str, which: str) -> ExternalCheckpoint:
    """A shipped network that is no method's; raises UsageError for the others, which are rows of their methods."""
    path = shipped_path(which)
    card = WeightCard.read(path)
    if not card.manipulation:
        method = card.method["name"]
        raise UsageError(f"--checkpoint {name}: {which} is trained by {method}; --methods {method} uses it")
    (model,) = resolve(models.registry, [spec_of(card.model)], ModelFamily)
    return ExternalCheckpoint(name=name, source=WeightFile(path=path.with_suffix(".pt")), model=model)


def _model_and_key(name: str, text: str, default: Component[ModelFamily]) -> tuple[Component[ModelFamily], str]:
    """The model and the key of a weight file, from what is typed behind its name."""
    if not text:
        return default, ""
    if "=" in text.partition(":")[0]:
        setting, _, key = text.partition("=")
        if setting != "key" or not key or "," in key:
            raise UsageError(f"--checkpoint {name}: {text!r} is neither key=KEY nor a model with its settings")
        return default, key
    spec = Spec.parse(text)
    settings = {setting: value for setting, value in spec.settings.items() if setting != "key"}
    (model,) = resolve(models.registry, [Spec(spec.name, settings)], ModelFamily)
    return model, spec.settings.get("key", "")
