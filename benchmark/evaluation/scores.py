"""Scores of a cell: for every image and metric the worst result of the attack, and the member it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attrobust.attacks.base import AttackOutput
from attrobust.networks.passes import Passes


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What went wrong with a metric, in one line that names it, and where."""

    error: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Per-image results of one cell.

    Attributes:
        values: one float64[B] for each metric, in order; of an attack's several results the worst for the model.
        worst: one int64[B] for each metric: index in ``members`` of the member with that result; the first among
            equals, -1 where the score is undefined or no member improved on the clean image.
        members: names of an ensemble's attacks.
        feasible: feasible, bool[B]: whether the attack's result obeyed the threat model; where not, the clean image was
            scored. True where there was no attack.
        passes: images the attack sent through the network.
        repeats: for each retraining metric, the mean over images of every repeat.
        failures: of metrics that raised, by their index; their values mean nothing.
    """

    values: list[Tensor]
    worst: list[Tensor]
    members: tuple[str, ...]
    feasible: Tensor
    passes: Passes
    repeats: tuple[tuple[float, ...], ...] = ()
    failures: Mapping[int, Failure] = field(default_factory=dict)


def unattacked(values: list[Tensor]) -> Scores:
    """Scores without an attack, one float64[B] for each metric."""
    return Scores(
        values=values,
        worst=[torch.full(scores.shape, -1) for scores in values],
        members=(),
        feasible=torch.ones(len(values[0]), dtype=torch.bool),
        passes=Passes(),
    )


def worst_of(output: AttackOutput, by_metric: Sequence[Tensor], higher_is_better: Sequence[bool]) -> Scores:
    """The worst result of each image, for every metric's scores, each results×images."""
    worst = [
        worst_result(scores, output.sources.cpu(), higher_is_better=higher)
        for scores, higher in zip(by_metric, higher_is_better, strict=True)
    ]
    return Scores(
        values=[values for values, _ in worst],
        worst=[members for _, members in worst],
        members=output.members,
        feasible=output.feasible.cpu(),
        passes=output.passes,
    )


def joined(batches: Sequence[Scores]) -> Scores:
    """The scores of all batches; raises ValueError where an attack's members are not the same in every batch."""
    names = {batch.members for batch in batches}
    if len(names) > 1 or any(len(set(members)) < len(members) for members in names):
        raise ValueError(f"an attack must have the same, different members in every batch, not {sorted(names)}")
    return Scores(
        values=[torch.cat(parts) for parts in zip(*(batch.values for batch in batches), strict=True)],
        worst=[torch.cat(parts) for parts in zip(*(batch.worst for batch in batches), strict=True)],
        members=batches[0].members,
        feasible=torch.cat([batch.feasible for batch in batches]),
        passes=Passes(
            forward=sum(batch.passes.forward for batch in batches),
            backward=sum(batch.passes.backward for batch in batches),
            double_backward=sum(batch.passes.double_backward for batch in batches),
        ),
    )


def worst_result(scores: Tensor, sources: Tensor, *, higher_is_better: bool) -> tuple[Tensor, Tensor]:
    """The worst score of each image, and the member it comes from.

    Scores that are NaN or infinite are undefined and taken only where no result of the image has a defined one.

    Args:
        scores: of every result, float64[N, B].
        sources: index of the member each comes from, int64[N, B].
        higher_is_better: of the metric.

    Returns:
        float64[B], and int64[B]: of equally bad results the first, -1 where all are undefined.
    """
    index = harm(scores, higher_is_better=higher_is_better).argmax(dim=0, keepdim=True)
    members = sources.gather(0, index)[0].masked_fill(~scores.isfinite().any(dim=0), -1)
    return scores.gather(0, index)[0], members


def harm(scores: Tensor, *, higher_is_better: bool) -> Tensor:
    """How bad scores are for the model: larger where worse, smallest where they are NaN or infinite."""
    return (-scores if higher_is_better else scores).masked_fill(~scores.isfinite(), -torch.inf)
