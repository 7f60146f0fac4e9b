"""Processor seconds of every explainer as a share of stock Captum's with the same settings; run by hand.

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/speed/explainer_table.py [NAME ...]

Networks are untrained, for CIFAR-10: LeNet with softplus and with ReLU (16 images), and ResNet-18 (4 images). Captum's
classes are called plainly, on networks that are prepared beforehand: with a module for every activation. Where they
take one image at a time, they are called so. An explainer that Captum lacks is compared with a loop over its draws that
calls Captum's Saliency, or with the oracle of the tests. Calls alternate; each figure is the ratio of the fastest of
several calls.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from captum import attr
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, IdentityRule
from torch import Tensor, nn

from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.models.resnet import ResNet18
from attrobust.explainers import registry
from attrobust.networks.smoothed import Normalize, softplus_model
from attrobust.types import ImageFacts

from helpers.by_hand import by_hand
from helpers.stock import STOCK, feature_map
from helpers.stock_perturbation import squares

Call = Callable[[nn.Module, Tensor, Tensor], Tensor]

SLOW = {"kernel-shap": 2, "lime": 2, "shapley-sampling": 2, "relex": 2}
"""Explainers timed on fewer images."""
RECTIFIED = {"guided-backprop", "deconvolution", "guided-gradcam"}
"""Explainers for which Captum needs softplus to be a ReLU."""
BASELINES = {"constant", "random", "input", "edges"}
"""Explainers that do not evaluate the network."""


def noise_tunnel(kind: str) -> Call:
    return lambda m, x, y: attr.NoiseTunnel(attr.Saliency(m)).attribute(
        x, nt_type=kind, nt_samples=16, stdevs=0.1, target=y, abs=False
    )


def drawn(samples: int, spread: float) -> Call:
    """The mean over draws, one call of Captum's Saliency for each."""

    def call(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        noise = spread * torch.randn(samples, *x.shape[1:])
        return torch.stack([attr.Saliency(m).attribute(x + z, target=y, abs=False) for z in noise]).mean(dim=0)

    return call


def perturbing(kind: Any, **settings: Any) -> Call:
    return lambda m, x, y: kind(m).attribute(
        x, target=y, feature_mask=squares(x), perturbations_per_eval=64, **settings
    )


def one_by_one(call: Call) -> Call:
    return lambda m, x, y: torch.cat([call(m, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])


class Flat(nn.Module):
    """LeNet without a module for flattening, for which Captum has no rule of LRP."""

    def __init__(self, lenet: Any) -> None:
        super().__init__()
        self.normalize, self.features, self.classifier = lenet.normalize, lenet.features, lenet.classifier[1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(self.normalize(x)).flatten(1))  # type: ignore[no-any-return]


def ruled(m: nn.Module) -> nn.Module:
    """The network with Captum's rules of the explainer's default; those on modules last for one call."""
    m = Flat(m)
    for module in m.modules():
        vars(module).pop("rule", None)  # None, left by the last call
        if isinstance(module, Normalize):
            module.rule = IdentityRule()
        elif isinstance(module, nn.Conv2d):
            module.rule = Alpha1_Beta0_Rule()
    return m


def references(x: Tensor) -> Tensor:
    return torch.linspace(0, 1, 5).view(-1, 1, 1, 1).expand(-1, *x.shape[1:])


CAPTUM: dict[str, Call] = {
    "saliency": lambda m, x, y: attr.Saliency(m).attribute(x, target=y, abs=False),
    "input-x-gradient": lambda m, x, y: attr.InputXGradient(m).attribute(x, target=y),
    "ig": lambda m, x, y: attr.IntegratedGradients(m).attribute(x, target=y, n_steps=32),
    "smoothgrad": noise_tunnel("smoothgrad"),
    "smoothgrad-square": noise_tunnel("smoothgrad_sq"),
    "vargrad": noise_tunnel("vargrad"),
    "uniform-gradient": drawn(16, 0.2),
    "sparsified-smoothgrad": drawn(32, 0.1),
    "gradient-shap": lambda m, x, y: attr.GradientShap(m).attribute(x, references(x), n_samples=16, target=y),
    "deeplift": lambda m, x, y: attr.DeepLift(m).attribute(x, target=y),
    "deeplift-shap": lambda m, x, y: attr.DeepLiftShap(m).attribute(x, references(x), target=y),
    "lrp": lambda m, x, y: attr.LRP(ruled(m)).attribute(x, target=y),
    "guided-backprop": lambda m, x, y: attr.GuidedBackprop(m).attribute(x, target=y),
    "deconvolution": lambda m, x, y: attr.Deconvolution(m).attribute(x, target=y),
    "gradcam": lambda m, x, y: attr.LayerAttribution.interpolate(
        attr.LayerGradCam(m, feature_map(m)).attribute(x, target=y), tuple(x.shape[2:]), "bilinear"
    ),
    "guided-gradcam": lambda m, x, y: attr.GuidedGradCam(m, feature_map(m)).attribute(
        x, target=y, interpolate_mode="bilinear"
    ),
    "occlusion": lambda m, x, y: attr.Occlusion(m).attribute(
        x, (3, 4, 4), strides=(3, 2, 2), target=y, perturbations_per_eval=8
    ),
    "feature-ablation": perturbing(attr.FeatureAblation),
    "shapley-sampling": perturbing(attr.ShapleyValueSampling, n_samples=10),
    "kernel-shap": one_by_one(perturbing(attr.KernelShap, n_samples=200)),
    "lime": one_by_one(perturbing(attr.Lime, n_samples=200)),
    "relex": lambda m, x, y: STOCK["relex"](m, x, y, torch.Generator().manual_seed(0)),
}


def seconds(job: Callable[[], object]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def ratio(ours: Callable[[], object], stock: Callable[[], object]) -> float:
    """Of the fastest calls; calls alternate for at least half a second and three rounds."""
    ours(), stock()
    rounds: list[tuple[float, float]] = []
    while len(rounds) < 3 or sum(map(sum, rounds)) < 0.5:
        rounds.append((seconds(ours), seconds(stock)))
    return min(ours for ours, _ in rounds) / min(stock for _, stock in rounds)


def networks() -> dict[str, tuple[nn.Module, int]]:
    """Each network, and on how many images it is explained."""
    torch.manual_seed(0)
    facts = ImageFacts(channels=3, size=32, classes=10, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
    lenet, resnet = (family.network(facts).eval().requires_grad_(False) for family in (LeNet(), ResNet18()))
    smooth = softplus_model(lenet, 10.0)
    return {
        "softplus LeNet": (smooth, 16),
        "ReLU LeNet": (lenet, 16),
        "ResNet-18": (resnet, 4),
    }


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    compared = networks()
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    print(f"| explainer | {' | '.join(compared)} |")
    print("|---|" + "---|" * len(compared))
    timed = [name for name in registry.names() if name not in BASELINES and not registry.get(name).needs_attention]
    for name in names or timed:
        explainer, cells = registry.get(name)(), []
        for model, count in compared.values():
            x = images[: min(count, SLOW.get(name, count))]
            with torch.no_grad():
                y = model(x).argmax(dim=1)
            network = by_hand(model, rectifiers=name in RECTIFIED)
            cells.append(_cell(lambda: explainer(model, x, y), lambda: CAPTUM[name](network, x, y)))  # noqa: B023
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _cell(ours: Callable[[], object], stock: Callable[[], object]) -> str:
    """The ratio; empty where Captum cannot explain the network."""
    try:
        stock()
    except (TypeError, RuntimeError, AssertionError, AttributeError):
        return ""
    return f"{ratio(ours, stock):.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="NAME")
    words = parser.parse_args().words
    main(words)
