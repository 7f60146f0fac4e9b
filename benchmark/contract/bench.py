"""What items are tried on: real images, networks that know them, and small trainings."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from attrobust import methods
from attrobust.attacks.base import Context, Explain
from attrobust.benchmark.data.base import ArraySplit, Dataset, Loaded, image_facts, partners
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.training.loop import fresh_network, train
from attrobust.benchmark.training.recipe import Recipe
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.methods.base import SCRATCH, Batch, Method
from attrobust.metrics.shared.case import Case
from attrobust.naming.component import resolve_one
from attrobust.networks.copying import independent_copy
from attrobust.networks.smoothed import is_smooth, softplus_model
from attrobust.threat import ThreatModel
from attrobust.types import ImageFacts

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=3e-3, clip=1.0)
"""How networks are trained to see whether a method learns."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What items are tried on.

    Attributes:
        data: real images.
        family: the architecture that methods are tried with.
        network: knows the images, with ReLU, evaluating; claims work on copies.
        smooth: another one, without piecewise linear activations.
        count: number of images.
        data_root: the folder that a dataset is read from; None for its own default.
        full: whether the whole contract is tried, or what is tried before a run.
        loads: datasets that were read, by their id.
    """

    data: Loaded
    family: ModelFamily
    network: nn.Module
    smooth: nn.Module
    count: int
    data_root: Path | None = None
    full: bool = True
    loads: dict[int, tuple[Dataset, Loaded]] = field(default_factory=dict)

    def loaded(self, dataset: Dataset) -> Loaded:
        """A dataset that is tried, read once."""
        if id(dataset) not in self.loads:
            self.loads[id(dataset)] = (dataset, dataset.load(self.data_root))
        return self.loads[id(dataset)][1]

    @functools.cached_property
    def facts(self) -> ImageFacts:
        """Of the images."""
        return image_facts(self.data)

    @property
    def x(self) -> Tensor:
        """The first test images, in [0, 1], B×C×H×W; new at every call."""
        return self.data.splits["test"].batch(range(self.count))[0]

    def unseen(self, draw: int) -> Tensor:
        """The images with a little noise of a draw, in [0, 1] and without exact ties of pixels."""
        x = self.x
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)
        return (0.98 * x.double() + 0.01 * noise).to(x)

    def other(self) -> nn.Module:
        """A network of the same shape with other weights, evaluating."""
        network = independent_copy(self.network)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(
                    1 + 0.1 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
                )
        return network

    @property
    def y(self) -> Tensor:
        """The class that the network predicts for each, int64[B]."""
        return _predicted(self.network, self.x)

    def batch(self, method: Method, seed: int = 0, family: ModelFamily | None = None, count: int = 0) -> Batch:
        """What the training loop offers a method: training images, and another network where it goes on from one."""
        x, y = self.data.splits["train"].batch(range(count or 2 * self.count))
        start = None
        if method.start != SCRATCH:
            start = self.fresh(method, seed=1, family=family).eval().requires_grad_(False)
        return Batch(x=x, y=y, generator=torch.Generator().manual_seed(seed), progress=0.5, start=start)

    def fresh(self, method: Method, seed: int = 0, family: ModelFamily | None = None) -> nn.Module:
        """A network as a method's training begins with, in training mode."""
        return fresh_network(method, family or self.family, self.data, seed).train()

    def trained(self, method: Method, images: int) -> nn.Module:
        """A network that a method trained on some images for a little while, after what it goes on from."""
        start = None
        if method.start != SCRATCH:
            start = self.trained(resolve_one(methods.registry, method.start, Method).item, images)
        split = self.data.splits["train"]
        indices = range(min(images, len(split)))
        few = ArraySplit(split.pixels(indices), split.labels[list(indices)])
        data = dataclasses.replace(self.data, splits={**self.data.splits, "train": few, "val": few})
        with tempfile.TemporaryDirectory() as folder:
            return train(
                method,
                self.family,
                data,
                RECIPE,
                seed=0,
                device=torch.device("cpu"),
                resume=Path(folder) / "state",
                start=start,
            ).model

    def context(self, threat: ThreatModel | None = None, explainer: Explain | None = None) -> Context:
        """What an attack is given for the images, with networks of its own."""
        x, model = self.x, independent_copy(self.network)
        explain = Saliency() if explainer is None else explainer
        return Context(
            model=model.requires_grad_(False),
            explainer=explain,
            reduce=functools.partial(reduce_map, how="abs-sum"),
            threat=threat or ThreatModel(eps=16 / 255),
            ids=range(len(x)),
            partners=self._partners,
            surrogate=None if explain.differentiable else Saliency(),
            source_model=independent_copy(self.smooth).requires_grad_(False),
        )

    def case(self, rows: slice = slice(None)) -> Case:
        """Images before and after noise that changes their maps, in float64, with a network of its own."""
        model = independent_copy(self.network).double()
        clean = self.x.double()
        noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        split, ids = self.data.splits["test"], range(len(clean))[rows]
        return Case(
            model=model,
            clean=clean[rows],
            attacked=(0.7 * clean + 0.3 * noise)[rows],
            target=_predicted(model, clean)[rows],
            explain=functools.partial(Saliency(), model),
            explain_with=Saliency(),
            reduce=functools.partial(reduce_map, how="abs-sum"),
            partners=self._partners.double()[rows],
            seed=0,
            ids=ids,
            masks=split.masks(list(ids)) if split.has_masks else (clean[rows] > 0.5).any(dim=1),
        )

    @property
    def _partners(self) -> Tensor:
        split = self.data.splits["test"]
        return split.batch(partners(split, self.count))[0]


def in_colour(x: Tensor, size: int) -> Tensor:
    """Images of three channels and another size, B×3×size×size, made of the first channel."""
    return nn.functional.interpolate(x[:, :1], size=(size, size)).expand(-1, 3, -1, -1).contiguous()


def smooth_version(network: nn.Module) -> nn.Module:
    """The network with softplus for ReLU; itself where it has no ReLU, or others that are not smooth."""
    if is_smooth(network):
        return network
    try:
        return softplus_model(network, 10.0)
    except ValueError:
        return network


def _predicted(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        classes: Tensor = model(x).argmax(dim=1)
    return classes
