"""Real digits, their maps and random draws that Quantus and our metrics are both given."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from attrobust import load
from attrobust.benchmark.data.digits import Digits
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import ImageStreams
from attrobust.metrics.shared.case import Case
from attrobust.networks.smoothed import softplus_model

IMAGES, DRAWS, RADIUS, SETS, SHARE = 4, 6, 0.1, 20, 0.1
"""Images; neighbours of each and the radius they lie in; random sets of pixels and their share of all."""
LEVELS = (10, 30, 50, 75)
"""Percentages of the pixels that are imputed; Quantus rounds their number down."""


def quantus_case() -> Case:
    """Four digits, without black pixels, and a smooth network whose activations are above zero: nothing is 0 / 0."""
    model = softplus_model(load("digits/natural"), 1.0).double().eval().requires_grad_(False)
    x = 0.1 + 0.8 * Digits().load(None).splits["test"].batch(range(IMAGES))[0].double()
    return Case(
        model=model,
        clean=x,
        attacked=x,
        target=model(x).argmax(dim=1),
        explain=lambda images, classes: Saliency()(model, images, classes),
        explain_with=Saliency(),
        reduce=lambda raw: reduce_map(raw, "abs-sum"),
        partners=x,
        seed=0,
        ids=range(IMAGES),
    )


def neighbours(case: Case) -> list[Tensor]:
    """The moved images that metrics of neighbours draw, each B×C×H×W."""
    streams = ImageStreams(case.seed, case.ids, "sensitivity")
    return [case.clean + RADIUS * streams.uniform(case.clean) for _ in range(DRAWS)]


def sets_of_pixels(case: Case) -> Sequence[Tensor]:
    """The random sets that ``sensitivity-n`` draws, each int64[B, n]."""
    streams, pixels = ImageStreams(case.seed, case.ids, "sensitivity-n"), case.clean[:, 0].flatten(1)
    count = round(SHARE * pixels.shape[1])
    return [streams.uniform(pixels).topk(count, dim=1).indices for _ in range(SETS)]


def other_classes(case: Case) -> Tensor:
    """The classes that ``random-logit`` draws, int64[B]."""
    draws = ImageStreams(case.seed, case.ids, "random logit").uniform(case.model(case.clean))
    return draws.scatter(1, case.target[:, None], -2.0).argmax(dim=1)
