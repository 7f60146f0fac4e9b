"""Mean gradient under uniform noise, with a certificate: Wang et al. 2020, Wang and Kong 2024."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import Explainer, checked, finite
from attrobust.explainers.shared.noise import all_over_noise, check_samples, mean_over_noise
from attrobust.maps.certificates import (
    CosineCertificate,
    ball_variation,
    box_variation,
    certified_cosine,
    check_promise,
)


@register("uniform-gradient")
@dataclass(frozen=True, kw_only=True)
class UniformGradient(Explainer):
    """Mean gradient under uniform noise in a ball, ``(1/n) Σ ∇_x f_c(x + r z_k)`` (Wang et al. 2020, arXiv 2006.06643).

    The same draws are used for every image of a batch.

    Attributes:
        samples: number of noisy copies n.
        radius: r, in pixel units.
        ball: ``linf`` is the cube ``[-1, 1]^d``, ``l2`` the Euclidean ball.
        unit: whether every gradient is divided by its l2 norm before averaging, as the certificate requires.
    """

    samples: int = 16
    radius: float = 0.2
    ball: Literal["linf", "l2"] = "linf"
    unit: bool = False
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if not self.radius > 0:
            raise ValueError(f"radius={self.radius:g} must be above 0")
        if self.ball not in ("linf", "l2"):
            raise ValueError(f"ball={self.ball} must be linf or l2")

    def noise(self, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Draws n×C×H×W in pixel units, on the device of ``x``."""
        shape = (samples, *x.shape[1:])
        if self.ball == "linf":
            draws = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
        else:
            directions = _unit(torch.randn(shape, generator=generator, dtype=torch.float64))
            depth = torch.rand(samples, generator=generator, dtype=torch.float64) ** (1 / x[0].numel())
            draws = directions * depth.view(-1, 1, 1, 1)
        return self.radius * draws.to(x)

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits per pixel unit, or without a unit where ``unit`` is set."""
        noise = self.noise(x, self.samples, generator)
        if self.unit:
            return mean_over_noise(model, x, target, noise, create_graph=create_graph, each=_units)
        return mean_over_noise(model, x, target, noise, create_graph=create_graph)

    def certify(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        radius: float,
        norm: Literal["linf", "l2"] = "l2",
        samples: int = 1000,
        confidence: float = 0.99,
        generator: torch.Generator | None = None,
    ) -> CosineCertificate:
        """Certificate of the cosine of the expected map of unit gradients within a radius (after arXiv 2405.06361).

        The bound of Wang and Kong needs the largest gradient norm, which is unknown for a network; for unit gradients
        it is 1. In high dimension a uniform distribution overlaps little with a shifted copy of itself, so that bounds
        are positive for small radii only.

        Args:
            model, x, target: as for an explanation; the class explained is held fixed.
            radius: of the perturbation, in pixel units; for an ``l2`` ball of noise, in the l2 norm.
            norm: of the radius.
            samples: draws for the direction, and again for its bound.
            confidence: of each image's bound.
            generator: random numbers.

        Raises:
            ValueError: the setting ``unit`` is not set, the norm is not l2 for l2 noise, or the radius is negative.
        """
        if not self.unit:
            raise ValueError("a certificate needs unit=True: the norms of raw gradients have no known bound")
        if norm not in ("linf", "l2") or (self.ball == "l2" and norm != "l2"):
            raise ValueError(f"norm={norm} must be l2, or linf for noise on a cube")
        check_samples(samples)
        check_promise(radius, confidence)
        target, images = checked(model, x, target), x.detach()
        source = torch.Generator().manual_seed(0) if generator is None else generator
        dimension = x[0].numel()
        first = self.noise(images, samples, source)
        direction = _unit(mean_over_noise(model, images, target, first, create_graph=False, each=_units))
        noise = self.noise(images, samples, source)

        def product(gradients: Tensor, rows: slice) -> Tensor:
            return torch.einsum("bnchw,bchw->bn", _unit(gradients), direction[rows])

        cosines = all_over_noise(model, images, target, noise, product)
        cosines = cosines.masked_fill(~finite(x)[:, None], float("nan"))
        variation = (
            ball_variation(radius, self.radius, dimension)
            if self.ball == "l2"
            else box_variation(radius, self.radius, dimension, norm)
        )
        return certified_cosine(
            cosines.double().cpu().numpy(),
            direction.double().cpu().numpy(),
            variation=variation,
            norm_name=norm,
            radius=radius,
            confidence=confidence,
        )


def _units(gradients: Tensor, _rows: slice) -> Tensor:
    return _unit(gradients)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors divided by their l2 norm over the last three axes; zero stays zero."""
    square = vectors.square().sum(dim=(-3, -2, -1), keepdim=True)
    return vectors / square.masked_fill(square == 0, 1.0).sqrt()
