"""Components that change whatever they can reach: what they are given, and the process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.attacks.base import Attack, Context
from attrobust.benchmark.data.base import Dataset, Loaded, Split
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.lenet import LeNet
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.methods.base import Method
from attrobust.metrics.base import Quality, Similarity
from attrobust.metrics.shared.case import Case
from attrobust.types import ImageFacts, Scope, SplitName


def upset_the_process() -> None:
    """Set everything in the process that decides numbers."""
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_flush_denormal(False)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    np.seterr(all="raise")
    torch.nn.modules.module.register_module_forward_hook(lambda _module, _inputs, output: 2 * output)


def upset(network: nn.Module) -> None:
    """Change the weights of a network, its last layer and its mode."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.data.mul_(0.5)
    name, _ = list(network.named_children())[-1]
    setattr(network, name, nn.Flatten())
    network.train()


@dataclass(frozen=True, kw_only=True)
class InPlace(Similarity):
    """Works in the maps it is given."""

    higher_is_better = True
    bounds = (0.0, 1.0)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        a -= a.amin(dim=1, keepdim=True)
        b.zero_()
        return a.new_zeros(len(a))


@dataclass(frozen=True, kw_only=True)
class Greedy(Quality):
    """Changes its case, the network and the process."""

    higher_is_better = True
    bounds = (0.0, 1.0)
    scope: ClassVar[Scope] = "attack"

    def judge(self, case: Case) -> Tensor:
        for tensor in (case.explain(case.clean, case.target), case.clean_maps, case.attacked_maps):
            tensor.zero_()
        for tensor in (case.clean, case.attacked, case.partners, case.target):
            tensor.zero_()
        assert isinstance(case.ids, list)
        case.ids.reverse()
        upset(case.model)
        upset_the_process()
        return torch.zeros(len(case.clean))


@dataclass(frozen=True, kw_only=True)
class Failing(Quality):
    """Raises, after it has changed what it is given."""

    higher_is_better = True
    bounds = (0.0, 1.0)
    scope: ClassVar[Scope] = "attack"

    def judge(self, case: Case) -> Tensor:
        case.clean.zero_()
        upset(case.model)
        upset_the_process()
        raise RuntimeError("out of luck")


@dataclass(frozen=True, kw_only=True)
class Buffered(Quality):
    """The mean of each clean map, returned in the same tensor every time."""

    higher_is_better = True
    bounds = (0.0, float("inf"))
    scope: ClassVar[Scope] = "attack"
    buffer: list[Tensor] = field(default_factory=list)

    def judge(self, case: Case) -> Tensor:
        means = case.clean_maps.flatten(1).mean(dim=1)
        if not self.buffer:
            self.buffer.append(means.clone())
        return self.buffer[0].copy_(means)


@dataclass(frozen=True, kw_only=True)
class Polite(Attack):
    """The image with a part of its partner, within the ball."""

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return context.threat.project(x, x + 0.1 * (context.partners - x))


@dataclass(frozen=True, kw_only=True)
class Vandal(Polite):
    """As ``Polite``, and then changes its context and the process."""

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        moved = super().run(context, x, y)
        for tensor in (x, y, context.partners):
            tensor.zero_()
        assert isinstance(context.ids, list)
        context.ids.reverse()
        upset(context.model)
        object.__setattr__(context.explainer, "attribute", lambda _model, images, *_, **__: images)
        upset_the_process()
        return moved


@dataclass(frozen=True, kw_only=True)
class Upsetting(Explainer):
    """The gradient, after which the process is not as before."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        maps = Saliency().attribute(model, x, target, create_graph=create_graph, generator=generator)
        upset_the_process()
        return maps


@dataclass(frozen=True, kw_only=True)
class Drifting(Explainer):
    """The gradient, after which the weights are smaller, in batches of more than two images."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        maps = Saliency().attribute(model, x, target, create_graph=create_graph, generator=generator)
        if len(x) > 2:
            next(model.parameters()).data.mul_(0.9)
        return maps


@dataclass(frozen=True, kw_only=True)
class Careless(Method):
    """Cross-entropy, after which the process is not as before."""

    def prepare(self, model: nn.Module) -> nn.Module:
        upset_the_process()
        return model

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        loss = F.cross_entropy(model(x), y)
        upset_the_process()
        return loss


class Lending(Split):
    """A split that hands out the tensors it holds.

    Args:
        split: whose images these are.
    """

    def __init__(self, split: Split) -> None:
        self._pixels, self.labels = split.pixels(range(len(split))), split.labels

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """The very tensor where neighbours are asked for."""
        upset_the_process()
        rows = list(indices)
        neighbours = rows == list(range(rows[0], rows[-1] + 1))
        return self._pixels[rows[0] : rows[-1] + 1] if neighbours else self._pixels[rows]

    @property
    def sha256(self) -> str:
        """The same always."""
        return "0"


@dataclass(frozen=True, kw_only=True)
class LendingDigits(Dataset):
    """The digits, by the tensors themselves."""

    def load(self, root: Path | None) -> Loaded:
        """See ``Dataset.load``."""
        data = Digits().load(root)
        upset_the_process()
        splits: dict[SplitName, Split] = {name: Lending(split) for name, split in data.splits.items()}
        return replace(data, splits=splits)


NETWORKS: list[nn.Module] = []


@dataclass(frozen=True, kw_only=True)
class OneNetwork(ModelFamily):
    """An architecture that builds one network and returns it ever after."""

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``."""
        if not NETWORKS:
            NETWORKS.append(LeNet(width=4, hidden=8).network(facts))
        upset_the_process()
        return NETWORKS[0]
