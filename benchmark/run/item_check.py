"""What people bring, held to its contract in short with the run's own images, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from attrobust.benchmark.contract.bench import Bench, smooth_version
from attrobust.benchmark.contract.models import require_logits
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.grid import Grid
from attrobust.naming.component import Component
from attrobust.places import ours
from attrobust.types import UsageError

IMAGES = 2
"""Number of images that items are tried on."""


def check_items(items: Sequence[Component[Any]], request: Request, data: Loaded, network: nn.Module) -> None:
    """Try the short form of their contracts on items that do not come with attrobust.

    Args:
        items: of a run, of any axis.
        request, data: of the run.
        network: for the images, evaluating, on the CPU.

    Raises:
        UsageError: a claim does not hold; names the item.
    """
    theirs = [item for item in items if not ours(type(item.item))]
    if not theirs:
        return
    # All contracts, with the items they are tried with, are imported for people's own items only.
    from attrobust.benchmark.contract.check import affordable, contract_of

    bench = Bench(
        data=data,
        family=request.model.item,
        network=network,
        smooth=smooth_version(network),
        count=min(IMAGES, len(data.splits["test"])),
        full=False,
    )
    for component in theirs:
        item = affordable(component.item, bench)
        for outcome in contract_of(type(item)).outcomes(item, bench, short=True):
            if outcome.problem:
                raise UsageError(f"{component.label}: {outcome.problem}")


def check_logits(network: nn.Module, data: Loaded) -> None:
    """Raise ValueError unless a network, evaluating, on the CPU, has a finite logit for each class of a real image."""
    with torch.no_grad():
        require_logits(network, data.splits["test"].batch([0])[0], image_facts(data).classes)


def items_of(request: Request, grids: Sequence[Grid]) -> Iterator[Component[Any]]:
    """What a run is made of beside images and explainers, each item once: architectures first."""
    seen: set[int] = set()
    attack = [request.accuracy_attack] if request.accuracy_attack else []
    groups: list[Sequence[Component[Any]]] = [
        [request.model, *(item.model for item in request.checkpoints)],
        request.methods,
        [*request.starts.values(), *request.source_models.values()],
        attack,
        *(grid.attacks for grid in grids),
        *(grid.metrics for grid in grids),
    ]
    for component in (item for group in groups for item in group):
        if id(component.item) not in seen:
            seen.add(id(component.item))
            yield component
