"""Compares a checkpoint's accuracy with its authors' claim, to detect a wrong normalisation or order of classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from attrobust.benchmark.checkpoints.source import Claim, activation_kinds
from attrobust.benchmark.data.preparation import Preparation
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.normalization import Constants, alike, describe
from attrobust.benchmark.statistics import at_chance, wilson
from attrobust.types import ImageFacts, Settings, percent

LEVEL = 0.99
"""Confidence level of the interval around a measured accuracy; a claim outside of it gives a warning."""
TOLERANCE = 0.01
"""Difference in accuracy that never gives a warning."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A network's accuracy and normalisation, with warnings about them.

    Attributes:
        accuracy: share of the test images classified correctly.
        images: number of test images.
        normalization: in words.
        claim: of the authors; None where there is none.
        warnings: one line each.
    """

    accuracy: float
    images: int
    normalization: str
    claim: Claim | None
    warnings: tuple[str, ...]

    @property
    def line(self) -> str:
        """Accuracy, normalisation and claim in words, without the warnings."""
        text = f"accuracy {percent(self.accuracy)} on {self.images} test images, normalisation: {self.normalization}"
        if self.claim is None or self.claim.accuracy is None:
            return text
        return f"{text}; {self.claim.source} says {percent(self.claim.accuracy)}{_where(self.claim)}"

    @property
    def facts(self) -> Settings:
        """All fields as JSON values."""
        return asdict(self)


def examine(
    network: nn.Module,
    hits: Tensor,
    labels: Tensor,
    family: ModelFamily,
    facts: ImageFacts,
    claim: Claim | None,
    validate: Callable[[], Tensor],
    preparation: Preparation | None = None,
) -> Finding:
    """Compare a network's accuracy with its authors' claim and with guessing.

    Args:
        network: to examine.
        hits: for each test image, whether it is classified correctly.
        labels: the true classes of the test images.
        family, facts: architecture and dataset that the network was built from.
        claim: of its authors.
        validate: computes the hits on the validation images, for a claim about those.
        preparation: of the images, where they were files.
    """
    warnings = []
    if claim is not None and claim.accuracy is not None:
        hits_of_claim = validate() if claim.split == "val" else hits
        warnings += _unlike(hits_of_claim, claim.accuracy, claim.source, _where(claim))
    if claim is not None and claim.normalization is not None:
        warnings += _otherwise(family.constants(facts), claim.normalization, claim.source)
    if claim is not None and claim.activations and claim.activations != (kinds := activation_kinds(network)):
        warnings.append(f"its activations are {', '.join(kinds)}; {claim.source} says {', '.join(claim.activations)}")
    if claim is not None and claim.preparation and preparation and not claim.preparation.same_as(preparation):
        stated = f"{claim.source} says {claim.preparation.words}: --dataset {claim.preparation.setting}"
        warnings.append(f"images are {preparation.words}; {stated}")
    if claim is not None and claim.manipulation:
        warnings.append(f"its maps are manipulated, as {claim.source} says: {claim.manipulation}")
    guessing = max(1 / facts.classes, float(torch.bincount(labels).max()) / len(labels))
    if reason := at_chance(int(hits.sum()), len(hits), guessing):
        warnings.append(f"{reason}: wrong normalisation, activation or class order?")
    return Finding(
        accuracy=_share(hits),
        images=len(hits),
        normalization=family.stated_normalization(facts),
        claim=claim,
        warnings=tuple(warnings),
    )


def _where(claim: Claim) -> str:
    return " on the validation images" if claim.split == "val" else ""


def _unlike(hits: Tensor, claimed: float, source: str, where: str) -> list[str]:
    (low, high), measured = _interval(hits), _share(hits)
    if low <= claimed <= high or abs(measured - claimed) <= TOLERANCE:
        return []
    cause = "wrong normalisation or class order?" if measured < claimed else "other images, or some it was trained on?"
    return [f"accuracy {percent(measured)}{where} is far from {source}'s {percent(claimed)}: {cause}"]


def _otherwise(used: Constants, stated: Constants, source: str) -> list[str]:
    if alike(used, stated):
        return []
    return [f"it is normalised with {describe(*used)}; {source} says {describe(*stated)}"]


def _interval(hits: Tensor) -> tuple[float, float]:
    return wilson(int(hits.sum()), len(hits), LEVEL)


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
