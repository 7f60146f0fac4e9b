"""RobustBench's trained networks, by its names; not registered, since they are not trained here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.normalization import Normalization
from attrobust.benchmark.models.per_call import one_activation_per_call
from attrobust.types import ImageFacts, UsageError

DATASETS = {10: "cifar10", 100: "cifar100", 1000: "imagenet"}
"""RobustBench's name of a dataset, by its number of classes."""


@dataclass(frozen=True, kw_only=True)
class RobustBench(ModelFamily):
    """A trained network of RobustBench, with its own normalisation inside.

    Attributes:
        name: as in RobustBench's tables.
        threat: the threat model it was trained for.
    """

    package: ClassVar[str] = "robustbench"

    name: str
    threat: Literal["Linf", "L2", "corruptions"] = "Linf"
    normalize: Normalization = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalize != "none":
            raise ValueError("networks of RobustBench normalise by themselves; leave normalize out")
        imported()

    def network(self, facts: ImageFacts) -> nn.Module:
        """The trained network; RobustBench downloads it on first use, into torch's hub folder."""
        folder = Path(torch.hub.get_dir()) / "robustbench"
        dataset = dataset_of(facts.classes)
        try:
            network: nn.Module = imported().utils.load_model(
                model_name=self.name, model_dir=folder, dataset=dataset, threat_model=self.threat
            )
        except KeyError as error:
            raise ValueError(f"RobustBench has no {self.name!r} for {dataset} and {self.threat}") from error
        return one_activation_per_call(network, facts)

    def stated_normalization(self, facts: ImageFacts) -> str:  # noqa: ARG002
        """See ``ModelFamily.stated_normalization``."""
        return "its own, inside the network"


def dataset_of(classes: int) -> str:
    """RobustBench's name of a dataset with ``classes`` classes; raises ValueError where there is none."""
    if classes not in DATASETS:
        raise ValueError(f"RobustBench has networks for 10, 100 or 1000 classes, the dataset has {classes}")
    return DATASETS[classes]


def imported() -> Any:
    """The package; raises UsageError where it is not installed."""
    try:
        import robustbench.utils
    except ImportError as error:
        raise UsageError(f"networks of RobustBench need it ({error}): pip install robustbench") from error
    return robustbench
