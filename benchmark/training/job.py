"""What is to be trained: everything that decides a checkpoint's weights, as plain facts with a key."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Self

from attrobust.benchmark.data.base import Dataset, Loaded, image_facts
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.store.provenance import TRAINING, code_digest, plugin_digest
from attrobust.benchmark.training.recipe import Recipe
from attrobust.methods.base import Method
from attrobust.naming.component import Component
from attrobust.naming.spec import fingerprint
from attrobust.types import ImageFacts, Settings


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that decides a checkpoint's weights. It names the images by their hashes and does not hold them.

    Attributes:
        method, model, dataset: with all their settings.
        images: what a network has to know of the images.
        train_sha256, val_sha256: of the split trained on, and of the one that the best epoch is chosen on.
        recipe: of training.
        seed: of training.
        start: the method whose trained weights training goes on from; None for fresh weights.
    """

    method: Component[Method]
    model: Component[ModelFamily]
    dataset: Component[Dataset]
    images: ImageFacts
    train_sha256: str
    val_sha256: str
    recipe: Recipe
    seed: int
    start: Component[Method] | None = None

    @classmethod
    def on(
        cls,
        data: Loaded,
        *,
        method: Component[Method],
        model: Component[ModelFamily],
        dataset: Component[Dataset],
        recipe: Recipe,
        seed: int,
        start: Component[Method] | None = None,
    ) -> Self:
        """The training on these images."""
        return cls(
            method=method,
            model=model,
            dataset=dataset,
            images=image_facts(data),
            train_sha256=data.splits["train"].sha256,
            val_sha256=data.splits["val"].sha256,
            recipe=recipe,
            seed=seed,
            start=start,
        )

    @property
    def before(self) -> Self | None:
        """The job whose weights this one goes on from."""
        return None if self.start is None else dataclasses.replace(self, method=self.start, start=None)

    @property
    def facts(self) -> Settings:
        """Method, model, dataset, images, recipe and start as JSON values."""
        splits = {"train_sha256": self.train_sha256, "val_sha256": self.val_sha256}
        return {
            "method": self.method.canonical,
            "model": self.model.canonical,
            "dataset": {**self.dataset.canonical, **splits},
            "images": asdict(self.images),
            "recipe": self.recipe.shared(tuning=self.start is not None),
            "start": self.start.canonical if self.start else {},
        }

    @property
    def epochs(self) -> int:
        """Length of the training, without that of ``before``."""
        return (self.recipe.tuning() if self.start else self.recipe).epochs

    @property
    def plugins(self) -> tuple[str, ...]:
        """Digests of the files of method, model, dataset and start that are plug-ins, empty for ours."""
        items = [self.method.item, self.model.item, self.dataset.item, *([self.start.item] if self.start else [])]
        return tuple(plugin_digest(type(item)) for item in items)

    @property
    def key(self) -> str:
        """Fingerprint of all of this."""
        return fingerprint([self.facts, self.seed, self.plugins])

    @property
    def code(self) -> str:
        """Digest of the sources that train."""
        return code_digest(TRAINING, [])
