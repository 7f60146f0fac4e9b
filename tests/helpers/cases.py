"""Cases that metrics are tried on: real digits, their gradients, and networks that know them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.metrics.shared.case import Case

MakeCase = Callable[..., Case]

FEW: dict[str, dict[str, int]] = {"certified-cosine": {"samples": 20}, "certified-topk": {"samples": 20}}
"""Settings of metrics that take a thousand passes by default, by name."""


def maker(network: nn.Module, images: Tensor) -> MakeCase:
    """Makes cases of digits before and after noise that changes their class, explained in float64.

    The maker takes the ``rows`` of the images, a ``factor`` that attributions are multiplied by, the ``explainer`` and
    whether the images are ``attacked``. Masks are the ink.
    """
    model = copy.deepcopy(network).double()
    clean = images.double()
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    attacked = 0.4 * clean + 0.6 * noise
    partners = clean.roll(1, 0)

    def make(
        rows: slice = slice(None), factor: float = 1.0, explainer: Explainer | None = None, *, unattacked: bool = False
    ) -> Case:
        explain = Saliency() if explainer is None else explainer
        x = clean[rows]
        return Case(
            model=model,
            clean=x,
            attacked=x if unattacked else attacked[rows],
            target=model(x).argmax(dim=1),
            explain=lambda images, classes: factor * explain(model, images, classes),
            explain_with=lambda network, images, classes: factor * explain(network, images, classes),
            reduce=lambda raw: reduce_map(raw, "abs-sum"),
            partners=partners[rows],
            seed=0,
            ids=range(len(clean))[rows],
            masks=(x > 0.5).any(dim=1),
        )

    return make


def unexplained(images: Tensor, _: Tensor) -> Tensor:
    raise AssertionError(f"{len(images)} images were explained")


def case_of(model: nn.Module, x: Tensor, target: Tensor, seed: int = 0) -> Case:
    """Images alone: nothing is attacked, and nothing may be explained."""
    return Case(
        model=model,
        clean=x,
        attacked=x,
        target=target,
        explain=unexplained,
        reduce=lambda raw: raw.sum(dim=1),
        partners=x,
        seed=seed,
        ids=range(len(x)),
    )
