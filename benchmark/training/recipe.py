"""Training settings that are the same for every method: schedule, optimiser, augmentation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from attrobust.naming import toml as settings
from attrobust.naming.validate import check_types
from attrobust.types import Settings, UsageError

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training settings that do not depend on the method.

    Attributes:
        epochs, batch_size: of training.
        optimizer: ``adam``, ``adamw`` or ``sgd`` (Nesterov momentum 0.9).
        learning_rate: largest rate of the schedule.
        weight_decay: of the optimiser.
        schedule: ``one-cycle`` warms up linearly over the first 30 % from 1/25 of the rate and falls along a cosine to
            0; ``steps`` divides by 10 after 50 % and 75 %; ``constant``.
        clip: largest l2 norm of the whole gradient; 0 does not clip.
        augment: ``none``, ``flip`` (left-right) or ``crop-flip`` (also shifts by up to 4 pixels).
        tuning_epochs, tuning_rate: for methods that start from trained weights, shares of ``epochs`` and
            ``learning_rate``.
        methods: per method, defaults of settings that are not typed; as text, like on the command line.
    """

    epochs: int
    batch_size: int
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float
    weight_decay: float = 0.0
    schedule: Literal["one-cycle", "steps", "constant"] = "one-cycle"
    clip: float = 0.0
    augment: Literal["none", "flip", "crop-flip"] = "none"
    tuning_epochs: float = 0.5
    tuning_rate: float = 0.1
    methods: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        if min(self.epochs, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ValueError("epochs and batch_size must be at least 1 and learning_rate above 0")
        if min(self.weight_decay, self.clip) < 0:
            raise ValueError("weight_decay and clip must not be negative")
        if not (0 < self.tuning_epochs <= 1 and 0 < self.tuning_rate <= 1):
            raise ValueError("tuning_epochs and tuning_rate must be above 0 and at most 1")

    def rate(self, progress: float) -> float:
        """The learning rate after a share ``progress`` of all steps, in [0, 1)."""
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "steps":
            return self.learning_rate * 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
        warm_up = 0.3
        if progress < warm_up:
            return self.learning_rate * (1 / 25 + (24 / 25) * progress / warm_up)
        return self.learning_rate * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2

    def tuning(self) -> Recipe:
        """This recipe for a method that starts from trained weights: fewer epochs, at least one, at a lower rate."""
        return dataclasses.replace(
            self,
            epochs=tuning_epochs(self.epochs, self.tuning_epochs),
            learning_rate=self.tuning_rate * self.learning_rate,
        )

    def shared(self, *, tuning: bool = True) -> Settings:
        """The fields that hold for every method, as JSON values; without those of tuning where ``tuning`` is False."""
        values = dataclasses.asdict(self)
        for key in ("methods",) if tuning else ("methods", "tuning_epochs", "tuning_rate"):
            del values[key]
        return values


def tuning_epochs(epochs: int, share: float) -> int:
    """The epochs of a method that starts from trained weights."""
    return max(1, round(share * epochs))


def load_recipe(name: str, epochs: int | None = None) -> Recipe:
    """The shipped recipe ``name`` or a ``.toml`` file, with other epochs where given; raises UsageError."""
    recipe = settings.read(Recipe, settings.find_file("recipe", name, FOLDER))
    if epochs is None:
        return recipe
    try:
        return dataclasses.replace(recipe, epochs=epochs)
    except ValueError as error:
        raise UsageError(f"--epochs: {error}") from error
