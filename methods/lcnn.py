"""Networks of low curvature: Srinivas et al., NeurIPS 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from attrobust.methods import register
from attrobust.methods.base import Method
from attrobust.methods.losses.gradients import differentiable, loss_gradient
from attrobust.naming.checks import above_zero, not_negative
from attrobust.networks.low_curvature import CentredSoftplus, LipschitzBatchNorm, SpectralNorm
from attrobust.networks.sizes import input_shapes
from attrobust.networks.smoothed import PIECEWISE_LINEAR, input_scale, replace_modules, shared_copy
from attrobust.types import Card, Cost

PAPER_BATCH = 128
"""Images in a batch of the official code."""


@register("lcnn")
@dataclass(frozen=True, kw_only=True)
class LCNN(Method):
    """Low-curvature network: layers with learned bounds of curvature and slope, and a penalty on the bounds.

    ``prepare`` makes every ReLU a centred softplus of learned inverse temperature β, divides every convolution's weight
    by the spectral norm of the convolution, and makes every batch normalisation one without weights whose slope is at
    most a learned γ (see ``attrobust.networks.low_curvature``). The network's curvature is then bounded by a sum of the
    β, each times slopes of the layers around it, and the loss is::

        CE + lam_beta Σ β + lam_gamma Σ |log γ| + lam_grad mean_i ||∇_x CE_i||_2^2

    with gradients in normalised input units and BatchNorm in training mode, all from one pass. A network without batch
    normalisation, such as ``lenet``, has no γ, and its curvature depends on linear layers of any norm unless ``linear``
    is set. ``lam_grad=0`` is the paper's LCNN, the default its LCNN + GradReg.

    Attributes:
        lam_beta, lam_gamma: weights of the bound's terms.
        lam_grad: weight of the gradient term; ``none`` means 6.1e-3, or 1e-3 for the variant ``paper``, which is the
            same at 128 images a batch.
        variant: ``paper`` has the official gradient term, ``1e5/B Σ ||∇_x mean_j CE_j||²``. That is
            ``1e5/B² mean_i ||∇_x CE_i||²``: with half the batch, the penalty is four times as large.
        linear: whether the weights of linear layers are divided by their spectral norms too, as in the official ResNet,
            whose one linear layer follows batch normalisations; ``lenet`` then has slope 1 from image to logits.
        beta, gamma: initial β and γ.
    """

    lam_beta: float = 1e-2
    lam_gamma: float = 1e-2
    lam_grad: float | None = None
    variant: Literal["corrected", "paper"] = "corrected"
    linear: bool = False
    beta: float = 5.0
    gamma: float = 10.0

    card: ClassVar[Card] = Card(
        title="Efficient Training of Low-Curvature Neural Networks",
        authors="Srinivas et al.",
        year=2022,
        arxiv="2206.07144",
        equation="L = CE + lam_beta sum beta + lam_gamma sum |log gamma| + lam_grad mean ||grad_x CE||_2^2",
        settings={f"{dataset}/resnet18": {"linear": "true"} for dataset in ("cifar10", "cifar100")},
        note="Weights are the defaults of the official code, which trains 200 epochs of SGD at batches of 128. Its "
        "gradient term depends on the size of the batch (variant=paper); ours is the same at 128. It normalises with "
        "the norm of strided convolutions at about twice their input size, ours at the input size; it averages both "
        "ways of a residual block, ours adds them as the network does. Networks without BatchNorm have no gamma.",
    )

    def __post_init__(self) -> None:
        not_negative(self, "lam_beta", "lam_gamma")
        if self.lam_grad is not None:
            not_negative(self, "lam_grad")
        above_zero(self, "beta", "gamma")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``; power iterations, which work on one image, are not counted."""
        return Cost(forward=1, backward=2, double_backward=1) if self._gradient_weight else Cost(forward=1, backward=1)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network with the layers above; one that has them already is returned as it is.

        The initial vectors of power iterations are drawn from torch's global generator.

        Raises:
            ValueError: the network has no ReLU modules, or other piecewise linear ones, or no ``image_shape``.
        """
        if any(isinstance(module, CentredSoftplus) for module in model.modules()):
            return model
        piecewise_linear = [module for module in model.modules() if isinstance(module, PIECEWISE_LINEAR)]
        if not piecewise_linear or not all(isinstance(module, nn.ReLU) for module in piecewise_linear):
            names = ", ".join(sorted({type(module).__name__ for module in piecewise_linear})) or "none"
            raise ValueError(f"lcnn needs nn.ReLU activations; those of the model that are not smooth: {names}")
        network = shared_copy(model)
        replace_modules(network, self._in_place_of)
        for name, shape in input_shapes(network, nn.Conv2d).items():
            convolution = network.get_submodule(name)
            assert isinstance(convolution, nn.Conv2d)
            parametrize.register_parametrization(convolution, "weight", SpectralNorm(convolution, shape))
        for module in list(network.modules()) if self.linear else []:
            if isinstance(module, nn.Linear):
                parametrizations.spectral_norm(module)
        return network

    def _in_place_of(self, module: nn.Module) -> nn.Module | None:
        if isinstance(module, nn.ReLU):
            return CentredSoftplus(self.beta)
        return LipschitzBatchNorm(module, self.gamma) if isinstance(module, nn.BatchNorm2d) else None

    def decays(self, name: str) -> bool:
        """See ``Method.decays``: all but the logarithms of β and γ."""
        return not name.endswith(("log_beta", "log_gamma"))

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy and the terms above; a scalar."""
        x = differentiable(x)
        logits = model(x)
        loss = F.cross_entropy(logits, y) + self.lam_beta * inverse_temperature(model) + self.lam_gamma * slope(model)
        if not self._gradient_weight:
            return loss
        gradient = loss_gradient(logits, x, y, create_graph=True) * input_scale(model)
        return loss + self._gradient_weight * self._size(gradient)

    @property
    def _gradient_weight(self) -> float:
        if self.lam_grad is None:
            return 1e-3 if self.variant == "paper" else 1e-3 * 1e5 / PAPER_BATCH**2
        return self.lam_grad

    def _size(self, gradient: Tensor) -> Tensor:
        """The gradient term without its weight, from the gradients of the images' own losses."""
        size = gradient.flatten(1).square().sum(dim=1).mean()
        return size * 1e5 / len(gradient) ** 2 if self.variant == "paper" else size


def inverse_temperature(model: nn.Module) -> Tensor | float:
    """``Σ β`` over the centred softplus of a network, a scalar."""
    return sum(module.beta for module in model.modules() if isinstance(module, CentredSoftplus))


def slope(model: nn.Module) -> Tensor | float:
    """``Σ |log γ|`` over the Lipschitz batch normalisations of a network, a scalar."""
    return sum(module.log_gamma.abs() for module in model.modules() if isinstance(module, LipschitzBatchNorm))
