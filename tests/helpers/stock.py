"""What unmodified Captum gives for every explainer's default settings: the oracle of the contract suite.

Where Captum has no such explainer, a loop over images and copies stands in. Networks are prepared by hand, without the
package's own rewriting.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from captum import attr
from scipy import ndimage
from skimage import filters
from torch import Tensor, nn

from attrobust.explainers import registry
from attrobust.networks.smoothed import Normalize

from helpers.by_hand import apart, by_hand
from helpers.stock_lrp import STOCK as LRP
from helpers.stock_perturbation import STOCK as PERTURBATION

Oracle = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]


def each(call: Callable[[Tensor, Tensor], Tensor], x: Tensor, target: Tensor) -> Tensor:
    """Image by image."""
    return torch.cat([call(image[None], label[None]) for image, label in zip(x, target, strict=True)])


@contextmanager
def draws_of(generator: torch.Generator, x: Tensor) -> Iterator[None]:
    """Captum's noise tunnel draws what the explainer drew."""
    state = generator.get_state()

    def normal(_mean: float, std: Tensor) -> Tensor:
        generator.set_state(state)
        return torch.randn(std.shape, generator=generator, dtype=x.dtype) * std

    with mock.patch("torch.normal", normal):
        yield


def tunnel(kind: str) -> Oracle:
    def oracle(model: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        noisy = attr.NoiseTunnel(attr.Saliency(model))
        with draws_of(generator, x):
            return each(
                lambda image, label: noisy.attribute(
                    image, target=label, nt_type=kind, nt_samples=16, stdevs=0.1, abs=False
                ),
                x,
                target,
            )

    return oracle


def gradient_shap(model: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Stock GradientShap, told which references and positions to draw."""
    noise, levels, positions = registry.get("gradient-shap")().draws(x, generator)  # type: ignore[attr-defined]
    assert not noise.any()
    references = levels.view(-1, 1, 1, 1).expand(-1, *x.shape[1:])
    with (
        mock.patch("numpy.random.choice", lambda _count, size: np.arange(size)),
        mock.patch("numpy.random.uniform", lambda _low, _high, _size: positions.numpy()),
    ):
        shap = attr.GradientShap(model)
        return each(
            lambda image, label: shap.attribute(image, references, n_samples=16, stdevs=0.0, target=label), x, target
        )


def deeplift(model: nn.Module, x: Tensor, target: Tensor, _generator: torch.Generator) -> Tensor:
    lift = attr.DeepLift(apart(model))
    return each(lambda image, label: lift.attribute(image, target=label), x, target)


def deeplift_shap(model: nn.Module, x: Tensor, target: Tensor, _generator: torch.Generator) -> Tensor:
    # Captum takes max-pooling's fallback gradient from the first row, so one reference at a time, twice.
    lift = attr.DeepLiftShap(apart(model))
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    maps = [
        each(
            lambda image, label: lift.attribute(image, torch.full_like(image, level).repeat(2, 1, 1, 1), target=label),  # noqa: B023
            x,
            target,
        )
        for level in levels
    ]
    return torch.stack(maps).mean(dim=0)


def feature_map(network: Any) -> nn.Module:
    """The last layer with height and width; residual networks leave one pixel of 28×28 after their fourth stage."""
    layer: nn.Module = network.layer3 if hasattr(network, "layer3") else network.features
    return layer


def gradcam(model: nn.Module, x: Tensor, target: Tensor, _generator: torch.Generator) -> Tensor:
    network = copy.deepcopy(model)
    coarse = attr.LayerGradCam(network, feature_map(network)).attribute(x, target=target, relu_attributions=True)
    fine = attr.LayerAttribution.interpolate(coarse, tuple(x.shape[2:]), "bilinear")
    return fine.expand_as(x) / x.shape[1]


def guided_gradcam(model: nn.Module, x: Tensor, target: Tensor, _generator: torch.Generator) -> Tensor:
    network = by_hand(model, rectifiers=True)
    guided = attr.GuidedGradCam(network, feature_map(network))
    return guided.attribute(x, target=target, interpolate_mode="bilinear")


def uniform_gradient(model: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    draws = 2 * torch.rand((16, *x.shape[1:]), generator=generator, dtype=x.dtype) - 1
    saliency = attr.Saliency(model)
    return torch.stack([saliency.attribute(x + 0.2 * z, target=target, abs=False) for z in draws]).mean(dim=0)


def sparsified(model: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    draws = torch.randn((32, *x.shape[1:]), generator=generator, dtype=x.dtype)
    saliency = attr.Saliency(model)
    counts = torch.zeros(len(x), x[0, 0].numel(), dtype=x.dtype)
    for z in draws:
        importance = saliency.attribute(x + 0.1 * z, target=target, abs=True).sum(dim=1).flatten(1)
        for row, values in enumerate(importance.detach().numpy()):
            counts[row, np.argsort(-values, kind="stable")[: round(values.size / 10)].copy()] += 1
    return (counts / 32).view(len(x), 1, *x.shape[2:]).expand_as(x) / x.shape[1]


def relex(model: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Image by image with torch's own optimiser, products taken in normalised units."""
    first = 0.01 * torch.rand(x.shape[1:], generator=generator, dtype=torch.float64)
    noise = [torch.randn((5, *x.shape[1:]), generator=generator, dtype=torch.float64) for _ in range(50)]
    normalise = [module for module in model.modules() if isinstance(module, Normalize)]
    mean, std = (normalise[0].mean, normalise[0].std) if normalise else (torch.tensor(0.0), torch.tensor(1.0))
    masks = []
    for image, label in zip((x - mean) / std, target, strict=True):
        mask = first.clone().requires_grad_()
        optimizer = torch.optim.SGD([mask], lr=0.1, momentum=0.99)
        for draws in noise:
            copies = image + 0.1 * (image.max() - image.min()) * draws
            inside, outside = ((model(copies * m * std + mean)).softmax(dim=1)[:, label] for m in (mask, 1 - mask))
            loss = (-inside.log() - (1 - outside + 1e-7).log()).mean() + 1e-4 * mask.abs().sum()
            optimizer.zero_grad()
            loss.backward(inputs=[mask])
            assert mask.grad is not None
            mask.grad /= mask.grad.norm()
            optimizer.step()
            mask.data.clamp_(0, 1)
        masks.append(mask.detach())
    return torch.stack(masks)


def sobel(_model: nn.Module, x: Tensor, _target: Tensor, _generator: torch.Generator) -> Tensor:
    """By scipy's correlation with the kernel of the textbook."""
    kernel = np.outer([1, 2, 1], [1, 0, -1]) / 4
    maps = []
    for image in x.detach().double().mean(dim=1).numpy():
        down, right = (ndimage.correlate(image, k, mode="reflect") for k in (kernel.T, kernel))
        maps.append(np.sqrt(down**2 + right**2) / np.sqrt(2))
        assert np.allclose(maps[-1], filters.sobel(image))
    return torch.from_numpy(np.stack(maps))[:, None].to(x).expand_as(x) / x.shape[1]


STOCK: dict[str, Oracle] = {
    "saliency": lambda model, x, target, _: attr.Saliency(model).attribute(x, target=target, abs=False),
    "input-x-gradient": lambda model, x, target, _: attr.InputXGradient(model).attribute(x, target=target),
    "ig": lambda model, x, target, _: attr.IntegratedGradients(model).attribute(x, target=target, n_steps=32),
    "smoothgrad": tunnel("smoothgrad"),
    "smoothgrad-square": tunnel("smoothgrad_sq"),
    "vargrad": tunnel("vargrad"),
    "gradient-shap": gradient_shap,
    "deeplift": deeplift,
    "deeplift-shap": deeplift_shap,
    "guided-backprop": lambda model, x, target, _: attr.GuidedBackprop(by_hand(model, rectifiers=True)).attribute(
        x, target=target
    ),
    "deconvolution": lambda model, x, target, _: attr.Deconvolution(by_hand(model, rectifiers=True)).attribute(
        x, target=target
    ),
    "gradcam": gradcam,
    "guided-gradcam": guided_gradcam,
    "uniform-gradient": uniform_gradient,
    "sparsified-smoothgrad": sparsified,
    "constant": lambda _model, x, _target, _: torch.ones_like(x),
    "random": lambda _model, x, _target, g: torch.randn(x.shape[1:], generator=g, dtype=x.dtype).expand_as(x),
    "input": lambda _model, x, _target, _: x,
    "edges": sobel,
    "relex": relex,
    **LRP,
    **PERTURBATION,
}
