"""Sanity-check baselines as rows of a table: constant and random maps, and an untrained network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from attrobust.benchmark.checkpoints.state_dict import state_sha256
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.store.plan import BASELINES
from attrobust.benchmark.training.loop import fresh_network
from attrobust.methods.natural import Natural
from attrobust.naming.component import Component
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """A network with the initial weights of training with a seed."""

    model: Component[ModelFamily]
    seed: int

    def open(self, data: Loaded) -> tuple[nn.Module, str]:
        """The network, in evaluation mode, and a sha256 of its weights."""
        network = fresh_network(Natural(), self.model.item, data, self.seed).eval()
        return network, state_sha256(network.state_dict())


def check_baselines(names: tuple[str, ...]) -> None:
    """Raise UsageError where a name is not that of a sanity-check baseline, or occurs twice."""
    for name in names:
        if name not in BASELINES:
            near = did_you_mean(name, BASELINES)
            raise UsageError(
                f"--baselines: unknown sanity-check baseline {name!r}.{near} Use {', '.join(BASELINES)} or none"
            )
    if len(set(names)) < len(names):
        raise UsageError(f"--baselines {','.join(names)} names a sanity-check baseline twice")
