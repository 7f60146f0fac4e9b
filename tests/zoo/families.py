"""Tries explainers and attacks on a network of every family of torchvision and on thirty of timm's; run by hand.

``PYTHONPATH=.:tests python -m zoo.families`` prints a table: for each network and explainer whether maps and two
attacks ran, or in which words they were refused. Weights are random, batch normalisations have the statistics of the
images, which are two photographs of CIFAR-10 where they are at hand, else digits. timm is optional. Results are printed
as they are found; ``docs/networks-tried.md`` is made of them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from attrobust import attacks, explainers
from attrobust.attacks.base import Context
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.rows import is_constant
from attrobust.naming.component import resolve_one
from attrobust.threat import ThreatModel

CLASSES = 7
SETTINGS: dict[str, dict[str, object]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
    "vit_b_16": {"image_size": 64},
    "maxvit_t": {"input_size": (224, 224)},
}
TORCHVISION = """
alexnet vgg11 vgg11_bn resnet18 resnext50_32x4d wide_resnet50_2 densenet121 squeezenet1_1 mobilenet_v2
mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5 efficientnet_b0 efficientnet_v2_s regnet_y_400mf convnext_tiny
swin_t swin_v2_t googlenet inception_v3 vit_b_16 maxvit_t
"""
SIZES = {"alexnet": 96, "inception_v3": 96, "maxvit_t": 224, "squeezenet1_1": 64}
TIMM = """
resnet10t resnetv2_18 seresnet18 ecaresnet26t skresnet18 res2net50_14w_8s dla34 hrnet_w18_small tf_efficientnet_lite0
mobilenetv3_small_050 mobilenetv4_conv_small ghostnet_050 repvgg_a0 regnetx_002 convnext_atto convnextv2_atto nfnet_l0
cspresnet50 vovnet39a efficientformer_l1 levit_128s vit_tiny_patch16_224 deit_tiny_patch16_224 cait_xxs24_224
xcit_nano_12_p16_224 mixer_s32_224 swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 coatnet_nano_rw_224 mobilevit_xxs
poolformer_s12 pvt_v2_b0 eva02_tiny_patch14_224 fastvit_t8 rexnet_100 edgenext_xx_small
"""
FIXED = ("vit", "deit", "cait", "xcit", "mixer", "swin", "coatnet", "eva02", "efficientformer", "levit")
EXPLAINERS = (
    *("saliency", "input-x-gradient", "ig:steps=2", "smoothgrad:samples=2", "gradcam", "guided-backprop", "lrp"),
    *("attention-rollout", "transformer-attribution"),
)
ATTACKS = ("topk", "direct")
STEPS = (2, 50)
"""Of an attack; many only where few move nothing, as on maps of few places, which a large step changes entirely."""


def networks() -> dict[str, tuple[Callable[[], nn.Module], int]]:
    """By name, what makes a network, and the side of its images."""
    found: dict[str, tuple[Callable[[], nn.Module], int]] = {}
    for name in TORCHVISION.split():

        def make(name: str = name) -> nn.Module:
            return models.get_model(name, num_classes=CLASSES, **SETTINGS.get(name, {}))

        found[name] = (make, SIZES.get(name, 64))
    if importlib.util.find_spec("timm"):
        import timm

        for name in TIMM.split():
            size = 224 if name.startswith(FIXED) else 64

            def make_timm(name: str = name) -> nn.Module:
                return timm.create_model(name, num_classes=CLASSES)  # type: ignore[no-any-return]

            found[f"timm/{name}"] = (make_timm, size)
    return found


def images(size: int) -> Tensor:
    """Two real images, 2×3×size×size in [0, 1]."""
    root = os.environ.get("ATTROBUST_DATA")
    dataset = ImageFolder() if root else Digits()
    x = dataset.load(Path(root) if root else None).splits["test"].batch([0, 1])[0]
    return F.interpolate(x, size=(size, size), mode="bilinear").expand(-1, 3, -1, -1).clamp(0, 1).contiguous()


def with_statistics(network: nn.Module, x: Tensor) -> nn.Module:
    """The network, evaluating, with statistics of images; with those of a fresh one signals fade in a few blocks.

    Last layers that begin with weights of zero, as torchvision's ViT has them, get random ones.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(torch.cat([x, x.flip(3)]))
    return network.eval().requires_grad_(False)


def moved(name: str, steps: int, context: Context, x: Tensor, y: Tensor) -> bool:
    """Whether an attack of so many steps changes an image."""
    attack = resolve_one(attacks.registry, f"{name}:steps={steps}", attacks.base.Attack).item
    return bool((attack(context, x, y).x != x).any())


def tried(network: nn.Module, spec: str, x: Tensor) -> str:
    """``ran``, or the words in which it was refused, or the error that it is; a constant map is not attacked."""
    explainer: Explainer = resolve_one(explainers.registry, spec, Explainer).item
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    try:
        maps = explainer(network, x, y)
        # The ReLU of Grad-CAM leaves nothing of some maps of random weights.
        if not maps.isfinite().all() or (spec != "gradcam" and maps.abs().max() < 1e-12):
            return "WRONG: the map is zero or not finite"
        if spec == "saliency":
            attached = x.clone().requires_grad_()
            (twin,) = torch.autograd.grad(network(attached).gather(1, y[:, None]).sum(), attached)
            if (twin - maps).abs().max() > 1e-3 * twin.abs().max():
                return "WRONG: not the gradient"
        threat = ThreatModel(eps=8 / 255, keep_prediction=False)
        context = Context(
            model=network,
            explainer=explainer,
            reduce=partial(reduce_map, how="abs-sum"),
            threat=threat,
            ids=[0, 1],
            partners=x.flip(0),
            surrogate=None if explainer.differentiable else Saliency(),
        )
        if maps.abs().max() > 0 and is_constant(context.reduce(maps).flatten(1)).all():
            return "ran: the map is constant"
        for name in ATTACKS:
            if not any(moved(name, steps, context, x, y) for steps in STEPS) and maps.abs().max() > 0:
                return f"WRONG: {name} moves nothing"
    except ValueError as error:
        return f"refused: {error}"
    except Exception as error:  # what the table is for
        return f"ERROR {type(error).__name__}: {str(error).splitlines()[0]}"
    return "ran"


def main(wanted: list[str]) -> None:
    """Print the table, one line for each network and explainer."""
    for name, (make, size) in networks().items():
        if wanted and not any(part in name for part in wanted):
            continue
        started = time.monotonic()
        torch.manual_seed(0)
        try:
            x = images(size)
            network = with_statistics(make(), x)
            results = {spec: tried(network, spec, x) for spec in EXPLAINERS}
        except Exception as error:  # what the table is for
            results = {"network": f"ERROR {type(error).__name__}: {str(error).splitlines()[0]}"}
        ran = [spec for spec, result in results.items() if result == "ran"]
        sys.stdout.write(f"{name} ({size} px, {time.monotonic() - started:.0f} s): ran {', '.join(ran)}\n")
        sys.stdout.writelines(f"    {spec}: {result}\n" for spec, result in results.items() if result != "ran")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
