"""Explainers of transformers: values from the weights by hand, exact derivatives, and refusals in words."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from attrobust import attacks, load
from attrobust.attacks.base import Context
from attrobust.benchmark.contract.check import digits_bench
from attrobust.benchmark.contract.claims import ClaimError
from attrobust.benchmark.contract.explainers import target_is_explained
from attrobust.benchmark.contract.transformer import attentive
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.explainers import registry
from attrobust.explainers.attention_rollout import AttentionRollout
from attrobust.explainers.base import Explainer
from attrobust.explainers.transformer_attribution import TransformerAttribution
from attrobust.threat import ThreatModel

from helpers.transformers import ByHand, of_timm, of_torchvision

SIDE = 32
EXPLAINERS: list[Explainer] = [
    AttentionRollout(),
    AttentionRollout(fusion="max"),
    AttentionRollout(fusion="min"),
    TransformerAttribution(),
]
BOTH: list[Explainer] = [AttentionRollout(), TransformerAttribution()]
TARGET = torch.tensor([1, 3])
each = pytest.mark.parametrize("explainer", EXPLAINERS, ids=str)
both = pytest.mark.parametrize("explainer", BOTH, ids=lambda explainer: type(explainer).__name__)


@pytest.fixture(scope="module")
def x(real_images: tuple[Tensor, Tensor]) -> Tensor:
    """Two real digits, enlarged and in three channels."""
    enlarged = F.interpolate(real_images[0][:2].double(), size=(SIDE, SIDE), mode="bilinear")
    return (0.98 * enlarged + 0.01).expand(-1, 3, -1, -1).contiguous()


def made(build: Callable[[], nn.Module]) -> Any:
    """A network whose random weights are larger than usual, so that attention is not flat."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.15 * torch.randn_like(parameter))
    return network.double().eval()


def vit() -> VisionTransformer:
    return VisionTransformer(SIDE, 8, num_layers=3, num_heads=2, hidden_dim=12, mlp_dim=20, num_classes=5)


def timm_network(kind: str) -> nn.Module:
    timm = pytest.importorskip("timm")
    settings = {"img_size": SIDE, "patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 2, "num_classes": 5}
    if kind == "distilled":
        return timm.models.deit.VisionTransformerDistilled(**settings)  # type: ignore[no-any-return]
    pooled = {"class_token": False, "global_pool": "avg"} if kind == "pooled" else {}
    return timm.models.VisionTransformer(**settings, **pooled)  # type: ignore[no-any-return]


def wanted(explainer: Explainer, by_hand: ByHand, x: Tensor) -> Tensor:
    if isinstance(explainer, AttentionRollout):
        return torch.cat([by_hand.rolled_out(image[None], explainer.fusion) for image in x])
    return torch.cat([by_hand.attributed(x[i : i + 1], int(TARGET[i])) for i in range(len(x))])


def assert_close(found: Tensor, wanted: Tensor, tolerance: float = 1e-7) -> None:
    """By the spread of a map, since most of one that averages the rows of all tokens is the same for all."""
    assert found.shape == wanted.shape
    spread = wanted.amax() - wanted.amin()
    assert spread > 1e-6 * wanted.abs().max()
    assert (found - wanted).abs().max() <= tolerance * spread


@each
def test_maps_of_torchvisions_are_those_from_the_weights_by_hand(explainer: Explainer, x: Tensor) -> None:
    network = made(vit)
    by_hand = of_torchvision(network)
    assert torch.allclose(by_hand.logits(x[:1]), network(x[:1])[0], atol=1e-10)
    assert_close(explainer(network, x, TARGET), wanted(explainer, by_hand, x))


@each
@pytest.mark.parametrize("kind", ["class", "distilled", "pooled"])
@pytest.mark.parametrize("fused", [True, False])
def test_maps_of_timms_are_those_from_the_weights_by_hand(
    explainer: Explainer, kind: str, fused: bool, x: Tensor
) -> None:
    network = made(lambda: timm_network(kind))
    for block in network.blocks:
        block.attn.fused_attn = fused
    by_hand = of_timm(network)
    assert torch.allclose(by_hand.logits(x[:1]), network(x[:1])[0], atol=1e-10)
    # The constant that keeps divisors from 0 is added before the scores are scaled here, and after that in timm.
    assert_close(explainer(network, x, TARGET), wanted(explainer, by_hand, x), 1e-5)


@both
def test_maps_of_photographs_are_those_from_the_weights_by_hand(explainer: Explainer, cifar_root: Path) -> None:
    photographs = ImageFolder().load(cifar_root).splits["test"].batch([0, 1])[0].double()
    network = made(vit)
    assert photographs.shape[1:] == (3, SIDE, SIDE)
    assert_close(explainer(network, photographs, TARGET), wanted(explainer, of_torchvision(network), photographs))


@each
def test_the_derivative_is_that_of_the_twin_by_finite_differences(explainer: Explainer, x: Tensor) -> None:
    network, generator = made(vit), torch.Generator().manual_seed(0)
    by_hand = of_torchvision(network)
    weights, direction = (torch.randn(x.shape, generator=generator, dtype=x.dtype) for _ in range(2))
    attached = x.clone().requires_grad_()
    maps = explainer(network, attached, TARGET, create_graph=True)
    assert torch.equal(maps.detach(), explainer(network, x, TARGET))
    (gradient,) = torch.autograd.grad((maps * weights).sum(), attached)
    step = 1e-6
    ahead, behind = (
        (wanted(explainer, by_hand, x + sign * step * direction) * weights).sum((1, 2, 3)) for sign in (1, -1)
    )
    slopes, found = (ahead - behind) / (2 * step), (gradient * direction).sum((1, 2, 3))
    assert slopes.abs().min() > 1e-6
    assert (found - slopes).abs().max() <= 1e-5 * (slopes.abs().max() + (gradient * direction).abs().sum())


class Spelled(nn.Module):
    """Two layers of attention whose weights are the same in every spelling."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling, self.stem = spelling, nn.Conv2d(3, 8, 8, 8)
        self.layers = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = tokens + self.attended(layer, tokens)  # type: ignore[arg-type]
        return self.head(tokens.mean(dim=1))  # type: ignore[no-any-return]

    def attended(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        if self.spelling in ("module", "module with weights"):
            return layer(x, x, x, need_weights=self.spelling != "module")[0]  # type: ignore[no-any-return]
        qkv = F.linear(x, layer.in_proj_weight, layer.in_proj_bias).reshape(*x.shape[:2], 3, 2, 4)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.spelling == "function":
            mixed = F.scaled_dot_product_attention(q, k, v)
        elif self.spelling == "masked":
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.zeros(16, 16).to(q))
        elif self.spelling == "dropout":
            mixed = F.dropout((q @ k.mT / math.sqrt(4)).softmax(-1), 0.1, training=False) @ v
        elif self.spelling == "bmm":
            scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)) / 2
            mixed = torch.bmm(F.softmax(scores, dim=-1), v.flatten(0, 1)).unflatten(0, (-1, 2))
        elif self.spelling == "einsum":
            mixed = torch.einsum("bhij,bhjd->bhid", (q @ k.transpose(2, 3) / 2).softmax(-1), v)
        else:
            mixed = torch.matmul(torch.softmax(0.5 * q @ k.transpose(2, 3), dim=-1), v)
        joined = mixed.transpose(1, 2).reshape(x.shape)
        return layer.out_proj(joined)  # type: ignore[no-any-return]


@both
@pytest.mark.parametrize("spelling", ["module with weights", "function", "softmax", "dropout"])
def test_a_map_does_not_depend_on_how_attention_is_spelled(explainer: Explainer, spelling: str, x: Tensor) -> None:
    plain = explainer(made(lambda: Spelled("module")), x, TARGET)
    assert_close(explainer(made(lambda: Spelled(spelling)), x, TARGET), plain, 1e-5)


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 12, [2], [2], [4, 4], num_classes=5)


@both
@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: torchvision.models.resnet18(num_classes=5), "ResNet has no attention.*explain a transformer"),
        (lambda: Spelled("masked"), "a mask or a bias of positions"),
        (lambda: Spelled("einsum"), "multiplies no values by matmul"),
        (lambda: Spelled("bmm"), "attention of 4×16×16 for 2 images"),
        (swin, "has attention of"),
    ],
    ids=["no attention", "mask", "einsum", "heads in the batch", "windows"],
)
def test_what_cannot_be_explained_is_said_in_one_line(
    explainer: Explainer, build: Callable[[], nn.Module], said: str, x: Tensor
) -> None:
    with pytest.raises(ValueError, match=said) as found:
        explainer(made(build), x, TARGET)
    assert "\n" not in str(found.value)


class Mixed(Spelled):
    """One layer in a spelling that is read and one in another; without its own part a map would be wrong."""

    def attended(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        self.spelling = "softmax" if layer is self.layers[0] else "einsum"
        return super().attended(layer, x)


class Parallel(Spelled):
    """Two layers of the same tokens, whose matrices must not be multiplied."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        first, second = (self.attended(layer, tokens) for layer in self.layers)  # type: ignore[arg-type]
        return self.head((tokens + first + second).mean(dim=1))  # type: ignore[no-any-return]


class InPlace(Spelled):
    """Adds the second layer to what its queries, keys and values were computed from."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens += self.attended(layer, tokens)  # type: ignore[arg-type]
        return self.head(tokens.mean(dim=1))  # type: ignore[no-any-return]


class Gated(Spelled):
    """Multiplies two tensors that depend on the image, for which there is no rule."""

    def attended(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        return super().attended(layer, x) * x.sigmoid()


@both
def test_no_layer_is_left_out_or_multiplied_in_silence(explainer: Explainer, x: Tensor) -> None:
    with pytest.raises(ValueError, match="multiplies no values by matmul"):
        explainer(made(lambda: Mixed("")), x, TARGET)
    with pytest.raises(ValueError, match="side by side"):
        explainer(made(lambda: Parallel("softmax")), x, TARGET)


@pytest.mark.parametrize(("build", "said"), [(InPlace, "iadd|out of place"), (Gated, "no rule for 'mul'")])
def test_an_operation_without_a_rule_is_named(build: Callable[[str], nn.Module], said: str, x: Tensor) -> None:
    with pytest.raises(ValueError, match=said):
        TransformerAttribution()(made(lambda: build("function")), x, TARGET)


@both
def test_a_network_that_ignores_its_input_has_the_class_tokens_map(explainer: Explainer, x: Tensor) -> None:
    network = made(vit)
    dead = copy.deepcopy(network)
    with torch.no_grad():
        dead.heads.head.weight.zero_()
    attached = x.clone().requires_grad_()
    maps = explainer(dead, attached, TARGET, create_graph=True)
    if isinstance(explainer, AttentionRollout):
        assert torch.equal(maps.detach(), explainer(network, x, TARGET))
    else:
        assert maps.abs().max() == 0
    assert torch.autograd.grad(maps.sum(), attached)[0].isfinite().all()


@both
def test_a_network_of_no_attention_is_refused_and_one_with_frozen_weights_is_not(
    explainer: Explainer, x: Tensor
) -> None:
    with pytest.raises(ValueError, match="has no attention"):
        explainer(copy.deepcopy(load("digits/natural")).double(), x[:, :1, 2:30, 2:30], TARGET)
    network = made(vit)
    wanted = explainer(network, x, TARGET)
    assert_close(explainer(copy.deepcopy(network).requires_grad_(False), x, TARGET), wanted)


def test_only_these_two_need_attention() -> None:
    found = [name for name in registry.names() if registry.get(name).needs_attention]
    assert found == ["attention-rollout", "transformer-attribution"]
    assert [name for name in found if registry.get(name).ignores_target] == ["attention-rollout"]


class SaysNothing(AttentionRollout):
    """A map that is the same for all classes, without saying so."""

    ignores_target = False


class SaysTooMuch(TransformerAttribution):
    """Says that its map is the same for all classes."""

    ignores_target = True


@pytest.mark.parametrize(
    ("explainer", "said"),
    [(SaysNothing(), "say ignores_target"), (SaysTooMuch(), "classes have maps of their own")],
    ids=["says nothing", "says too much"],
)
def test_what_is_said_of_classes_is_checked(explainer: Explainer, said: str) -> None:
    with pytest.raises(ClaimError, match=said):
        target_is_explained(explainer, attentive(digits_bench()))


@both
def test_they_are_attacked(explainer: Explainer, x: Tensor, make_context: Callable[..., Context]) -> None:
    network = made(vit).float()
    images = x.float()
    y = network(images).argmax(dim=1)
    threat = ThreatModel(eps=16 / 255, keep_prediction=False)
    context = make_context(network, explainer, images, threat=threat, source_model=None)
    result = attacks.registry.get("topk")(steps=3)(context, images, y)
    assert (result.x - images).abs().max() > 0.03
