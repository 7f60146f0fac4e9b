"""Attention has second derivatives wherever this package runs it, whatever kernels the caller has switched on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from attrobust import attacks, explainers
from attrobust.attacks.base import Context
from attrobust.attacks.engine.differentiated import activation_displacements
from attrobust.explainers.saliency import Saliency
from attrobust.methods.aga import AGA
from attrobust.methods.base import Batch
from attrobust.metrics.shared.derivatives import second_order
from attrobust.process import standard
from attrobust.threat import ThreatModel

ContextMaker = Callable[..., Context]


class Kernel(nn.Module):
    """Attention by torch's function, after a layer that makes queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.out = nn.Conv2d(1, 24, 7, 7), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.heads(x).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=3)
        attended = F.scaled_dot_product_attention(queries, keys, values)[:, 0]
        return self.out(attended.mean(dim=1))  # type: ignore[no-any-return]


def vit() -> nn.Module:
    network = VisionTransformer(
        image_size=28, patch_size=7, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24, num_classes=10
    )
    nn.init.normal_(network.heads.head.weight)
    return nn.Sequential(nn.Conv2d(1, 3, 1), network)


@pytest.fixture(params=[vit, Kernel], ids=["vit", "function"])
def transformer(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = request.param()
    return network.double().eval()


def test_the_derivative_of_a_gradient_map_is_that_of_finite_differences(
    transformer: nn.Module, real_images: tuple[Tensor, Tensor]
) -> None:
    x, y = real_images[0][:2].double(), real_images[1][:2]
    generator = torch.Generator().manual_seed(0)
    weight, direction = (torch.randn(x.shape, generator=generator, dtype=x.dtype) for _ in range(2))
    x = x.clamp(0.01, 0.99)

    def value(images: Tensor) -> Tensor:
        return (Saliency()(transformer, images, y) * weight).sum()

    attached = x.clone().requires_grad_()
    maps = Saliency()(transformer, attached, y, create_graph=True)
    with standard():
        (gradient,) = torch.autograd.grad((maps * weight).sum(), attached)
        _, product = second_order(transformer, x, y, "logit")
        hessian = product(direction)
    step = 1e-5
    wanted = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(wanted), rel=1e-6)
    # Saliency is the logit's gradient, so its derivative along a direction is the Hessian's product with it.
    assert float((hessian * weight).sum()) == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("explainer", ["saliency", "ig", "smoothgrad"])
def test_transformers_are_attacked(
    explainer: str, transformer: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = real_images[0][:2].double(), real_images[1][:2]
    settings = {"ig": {"steps": 3}, "smoothgrad": {"samples": 2}}.get(explainer, {})
    threat = ThreatModel(eps=16 / 255, keep_prediction=False)
    context = make_context(transformer, explainers.registry.get(explainer)(**settings), x, threat=threat)
    switched = torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()
    result = attacks.registry.get("topk")(steps=3)(context, x, y)
    assert (result.x - x).abs().max() > 0.03
    assert (torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()) == switched


def test_a_loss_of_gradients_trains_a_transformer(transformer: nn.Module, real_images: tuple[Tensor, Tensor]) -> None:
    x, y = real_images[0][:4].double(), real_images[1][:4]
    network = transformer.train()
    with standard():
        for loss in AGA().losses(network, Batch(x=x, y=y, generator=torch.Generator().manual_seed(0))):
            loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in network.parameters())


def test_displacements_are_measured_where_images_are_not_the_first_axis(real_images: tuple[Tensor, Tensor]) -> None:
    class Turned(nn.Module):
        """Images along the second axis, as between the layers of some transformers, and a layer that sees none."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.act, self.table, self.out = nn.Linear(784, 6), nn.ReLU(), nn.ReLU(), nn.Linear(6, 10)
            self.register_buffer("places", torch.linspace(-1, 1, 9).view(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            bias = self.table(self.places).sum()
            return self.out(self.act(self.stem(x.flatten(1)).T).T + bias)  # type: ignore[no-any-return]

    network = Turned().double().eval()
    x = real_images[0][:1].double()
    found = activation_displacements(network, ThreatModel(eps=0.1), x.shape[1:], x)
    upright = nn.Sequential(nn.Flatten(), network.stem, nn.ReLU()).eval()
    assert found["act"] == pytest.approx(activation_displacements(upright, ThreatModel(eps=0.1), x.shape[1:], x)["2"])
    assert found["table"] < 1e-6
