"""What a step of an attack does no more often than it must: convolutions, maps of clean images, waits for a GPU."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from attrobust import load
from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.walk import Walk
from attrobust.attacks.topk import TopK
from attrobust.explainers.base import Explainer
from attrobust.explainers.deeplift import DeepLift
from attrobust.explainers.gradcam import GradCam
from attrobust.explainers.guided import GuidedBackprop
from attrobust.explainers.ig import IG
from attrobust.explainers.lrp import LRP
from attrobust.explainers.saliency import Saliency
from attrobust.images import pixels_trusted
from attrobust.maps import rows
from attrobust.process import seeded

ContextMaker = Callable[..., Context]
READS = ("aten._local_scalar_dense", "aten.equal", "aten.is_nonzero", "aten.nonzero")
"""Operations that wait for a GPU, since their result is read or their size depends on values."""


class Counting(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.counts[str(func.overloadpacket)] += 1
        return func(*args, **(kwargs or {}))


def frozen(network: nn.Module) -> nn.Module:
    """As attacks get networks: evaluating, parameters without gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def visit(attack: Direct | TopK, context: Context, x: Tensor, y: Tensor) -> Counter[str]:
    """The operations of one step of a descent near its start."""
    context = replace(context.remembering(x, y), observer=None)
    walk, point = Walk(attack, context, x, y), context.threat.project(x, x + 1e-4)
    with Counting() as mode, pixels_trusted(True):
        walk.visit(x, point, 1)
    return mode.counts


ATTACKS = [TopK(), *(Direct(score=score) for score in ("cosine", "topk", "spearman", "pearson", "ssim"))]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_step_takes_six_convolutions_a_layer(
    attack: Direct | TopK, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """Two for the scored map; four for the derivative of the smoothed one."""
    x, y = (part[:2] for part in real_images)
    with seeded(0):
        counts = visit(attack, make_context(frozen(network), Saliency(), x), x, y)
    layers = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert counts["aten.convolution"] + counts["aten.convolution_backward"] == 6 * layers


@pytest.mark.parametrize("attack", ATTACKS[:2], ids=str)
def test_a_step_waits_for_a_gpu_only_to_see_whether_a_prediction_changed_or_is_about_to(
    attack: Direct | TopK,
    network: nn.Module,
    real_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "looking_waits", lambda _: True)
    x, y = (part[:2] for part in real_images)
    with seeded(0):
        counts = visit(attack, make_context(frozen(network), Saliency(), x), x, y)
    assert sum(counts[name] for name in READS) <= 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_on_a_gpu_waits_twice(real_images: tuple[Tensor, Tensor], make_context: ContextMaker) -> None:
    x, y = (part[:2].cuda() for part in real_images)
    context = make_context(frozen(load("digits/natural")).cuda(), Saliency(), x).remembering(x, y)
    walk = Walk(TopK(), context, x, y)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught, pixels_trusted(True):
            warnings.simplefilter("always")
            walk.visit(x, x, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchroniz" in str(warning.message) for warning in caught) <= 2


class Small(nn.Module):
    """A network of an author's own class, so that copies of it are tried."""

    def __init__(self, relu: Callable[[Tensor], Tensor], pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.Linear(6, 10)
        self.relu, self.pool = relu, pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.pool(self.relu(self.first(x))))
        return self.head(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("explainer", [GradCam(), GuidedBackprop(), DeepLift(), LRP()], ids=type)
@pytest.mark.parametrize(
    "parts",
    [(nn.ReLU(), nn.MaxPool2d(2)), (nn.ReLU(inplace=True), nn.Identity()), (functional.relu, nn.MaxPool2d(2))],
    ids=["modules", "in place", "functions"],
)
def test_copies_of_a_network_are_tried_once_and_not_at_every_step(
    explainer: Explainer,
    parts: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    real_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = (part[:2] for part in real_images)
    trials: Counter[int] = Counter()
    convolve: Callable[..., Tensor] = nn.Conv2d._conv_forward

    def counting(module: nn.Conv2d, images: Tensor, *weights: Tensor | None) -> Tensor:
        trials[steps] += not torch.is_grad_enabled()
        return convolve(module, images, *weights)

    with seeded(0):
        context = make_context(frozen(Small(*parts)), explainer, x)
        monkeypatch.setattr(nn.Conv2d, "_conv_forward", counting)
        for steps in (2, 6):
            TopK(steps=steps)(context, x, y)
    assert trials[2] == trials[6] > 0


class Asked(Saliency):
    """Counts how often it is asked for a map."""

    times: ClassVar[int] = 0

    def attribute(self, *words: Any, **settings: Any) -> Tensor:
        Asked.times += 1
        return super().attribute(*words, **settings)


def test_maps_of_the_clean_images_are_computed_once(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:2] for part in real_images)
    Asked.times = 0
    with seeded(0):
        Walk(Direct(score="topk"), make_context(frozen(network), Asked(), x), x, y)
    assert Asked.times == 1


def test_what_a_context_remembers_is_of_its_own_network_explainer_and_images(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:4] for part in real_images)
    context = make_context(frozen(network), Saliency(), x)
    known = context.remembering(x, y)
    assert torch.equal(known.maps(x, y), context.maps(x, y))
    known.maps(x, y).zero_()
    for changed in (replace(known, explainer=IG(steps=4)), replace(known, reduce=lambda maps: maps.sum(dim=1))):
        assert torch.equal(changed.maps(x, y), replace(changed, clean=None).maps(x, y))
    assert torch.equal(known.maps(1 - x, y), context.maps(1 - x, y))
    assert torch.equal(known.maps(x, 1 - y.clamp_max(1)), context.maps(x, 1 - y.clamp_max(1)))
    part = known.take([3, 1])
    torch.testing.assert_close(part.maps(*part.images), context.take([3, 1]).maps(x[[3, 1]], y[[3, 1]]))
    assert all(torch.equal(a, b) for a, b in zip(part.images, (x[[3, 1]], y[[3, 1]]), strict=True))


@pytest.mark.parametrize("change", ["images", "classes", "weights"])
def test_a_change_in_place_is_not_missed(
    change: str, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:2].clone() for part in real_images)
    context = make_context(frozen(network), Saliency(), x)
    known = context.remembering(x, y)
    with torch.no_grad():
        changed = {"images": x, "classes": y, "weights": next(context.model.parameters())}[change]
        changed.copy_(1 - changed.clamp(0, 1))
    assert torch.equal(known.maps(x, y), context.maps(x, y))
    assert torch.equal(known.maps_and_logits(x, y)[1], context.maps_and_logits(x, y)[1])
