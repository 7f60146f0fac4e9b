"""Sparsified SmoothGrad, how often a pixel is in the top k under noise, with a certificate: Levine et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import UnderivedExplainer, checked, finite
from attrobust.explainers.shared.noise import GaussianExplainer, check_samples, mean_over_noise, normal_draws
from attrobust.maps.certificates import TopKCertificate, certify_top_k, check_promise
from attrobust.types import Amount


@register("sparsified-smoothgrad")
@dataclass(frozen=True, kw_only=True)
class SparsifiedSmoothGrad(UnderivedExplainer, GaussianExplainer):
    """Share of noisy copies with the pixel in the top k of ``Σ_c |∇f|`` (Levine et al. 2019, arXiv 1905.12105).

    The map is ``(1/n) Σ 1[pixel ∈ T(x + s z_k)]``, T the top k. Its values lie in [0, 1], which makes it certifiable;
    every channel gets an equal share, so that the sum over the channels is the map. As a mean of indicators it has no
    useful derivative.

    Attributes:
        keep: k, pixels in the top k of each draw, a count or a percentage.
    """

    keep: Amount = Amount(10, percent=True)
    samples: int = 32

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W."""
        shares = self.frequencies(model, x, target, self.noise(x, generator))
        return shares[:, None].expand_as(x) / x.shape[1]

    def frequencies(self, model: nn.Module, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        """Share of the given draws, n×C×H×W, with each pixel in the top k, B×H×W."""
        keep = self.keep.of(x.shape[2] * x.shape[3])

        def top(gradients: Tensor, _rows: slice) -> Tensor:
            importance = gradients.abs().sum(dim=2).flatten(2)
            order = importance.argsort(dim=2, descending=True, stable=True)[:, :, :keep]
            return torch.zeros_like(importance).scatter_(2, order, 1.0).view(*gradients.shape[:2], *x.shape[2:])

        return mean_over_noise(model, x, target, noise, create_graph=False, each=top)

    def certify(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        radius: float,
        k: Amount | int | str = "10%",
        samples: int = 1000,
        confidence: float = 0.99,
        generator: torch.Generator | None = None,
    ) -> TopKCertificate:
        """Certificate of how much of the expected map's top k stays in the top k within an l2 radius.

        Args:
            model, x, target: as for an explanation; the class explained is held fixed.
            radius: l2, in pixel units.
            k: size of the certified set, a count or a percentage of the pixels.
            samples: draws.
            confidence: that all of an image's bounds hold.
            generator: random numbers.

        Raises:
            ValueError: ``stdev`` is 0, or the radius is negative.
        """
        if not self.stdev > 0:
            raise ValueError("a certificate needs stdev above 0")
        check_samples(samples)
        check_promise(radius, confidence)
        source = torch.Generator().manual_seed(0) if generator is None else generator
        target, images = checked(model, x, target), x.detach()
        shares = self.frequencies(model, images, target, self.stdev * normal_draws(x, samples, source))
        # Nothing can be certified for an image that is not finite: its counts are 0.
        counts = (shares * samples).round().masked_fill(~finite(x).view(-1, 1, 1), 0.0)
        return certify_top_k(
            counts.double().cpu().numpy(),
            samples,
            k=(k if isinstance(k, Amount) else Amount.parse(str(k))).of(x.shape[2] * x.shape[3]),
            stdev=self.stdev,
            radius=radius,
            confidence=confidence,
        )
