"""Gradients at noisy copies of an image, and averages over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import accumulate
from attrobust.explainers.shared.gradient import input_gradient

MOST_SAMPLES = 10_000
"""Limit of draws, which are all in memory at once: 120 MB for images of CIFAR-10's size."""


@dataclass(frozen=True, kw_only=True)
class GaussianExplainer(Explainer):
    """An explainer that averages over copies of the image with Gaussian noise.

    The same draws are used for every image of a batch, so that an image's map does not depend on its neighbours.

    Attributes:
        samples: number of noisy copies n.
        stdev: standard deviation s of the noise, in pixel units.
    """

    samples: int = 16
    stdev: float = 0.1
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if self.stdev < 0:
            raise ValueError(f"stdev={self.stdev:g} must not be negative")

    def noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The draws, n×C×H×W in pixel units, on the device of ``x``."""
        return self.stdev * normal_draws(x, self.samples, generator)


def check_samples(samples: int, least: int = 1) -> None:
    """Raise ValueError unless the number of draws is between ``least`` and ``MOST_SAMPLES``."""
    if not least <= samples <= MOST_SAMPLES:
        raise ValueError(f"samples={samples} must be between {least} and {MOST_SAMPLES}")


def normal_draws(x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, samples×C×H×W, the same on every device and, up to rounding, in every precision."""
    return torch.randn((samples, *x.shape[1:]), generator=generator, dtype=torch.float64).to(x)


Each = Callable[[Tensor, slice], Tensor]
"""Gradients b×k×C×H×W and the rows of the batch they belong to, to b×k×…"""


def mean_over_noise(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    noise: Tensor,
    *,
    create_graph: bool,
    each: Each = lambda gradients, _: gradients,
) -> Tensor:
    """Mean over perturbations of a function of the gradient.

    Args:
        model, x, target, create_graph: as for an explainer.
        noise: n×C×H×W, in pixel units, added to every image.
        each: the function that is averaged; by default the gradient itself.

    Returns:
        Tensor B×….
    """
    return _over_noise(model, x, target, noise, each, create_graph=create_graph, join="sum") / len(noise)


def all_over_noise(model: nn.Module, x: Tensor, target: Tensor, noise: Tensor, each: Each) -> Tensor:
    """A function of the gradient at every perturbation, B×n×…, without a graph; arguments as above."""
    return _over_noise(model, x, target, noise, each, create_graph=False, join="cat")


def _over_noise(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    noise: Tensor,
    each: Each,
    *,
    create_graph: bool,
    join: Literal["sum", "cat"],
) -> Tensor:
    def part(images: Tensor, rows: slice, span: slice, graph: bool) -> Tensor:
        copies = (images[:, None] + noise[span]).flatten(0, 1)
        labels = target[rows].repeat_interleave(len(noise[span]))
        gradients = input_gradient(model, copies, labels, create_graph=graph)
        values = each(gradients.view(len(images), -1, *x.shape[1:]), rows)
        return values.sum(dim=1) if join == "sum" else values

    return accumulate(part, model, x, len(noise), create_graph=create_graph, join=join)
