"""A table of every explainer against stock Captum on real CIFAR-10 images; run by hand on an idle machine.

    PYTHONPATH=.:tests ATTROBUST_DATA=... python tests/speed/explainer_table.py WEIGHTS.pt [NAME ...]

WEIGHTS.pt is a ``lenet`` state dict for CIFAR-10, as a run of the benchmark leaves it in ``checkpoints/``. Errors are
in float64, seconds and memory in float32 on one thread: the fastest of two runs over 16 images, scaled to 100, and how
far the resident memory rose above where it was. Captum is called on the whole batch where its classes allow it.
"""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captum import attr
from torch import Tensor, nn

from attrobust.benchmark.checkpoints.state_dict import load_weights, read_weights
from attrobust.benchmark.data.base import image_facts
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.benchmark.models.lenet import LeNet
from attrobust.explainers import registry
from attrobust.explainers.base import Explainer
from attrobust.networks.smoothed import softplus_model

from helpers.by_hand import apart, by_hand
from helpers.stock import STOCK, feature_map
from helpers.stock_perturbation import squares

Call = Callable[[nn.Module, Tensor, Tensor], Tensor]
SLOW = {"kernel-shap": 2, "lime": 2, "shapley-sampling": 4, "relex": 4}
"""Explainers timed on fewer images."""


def noise_tunnel(kind: str) -> Call:
    return lambda m, x, y: attr.NoiseTunnel(attr.Saliency(m)).attribute(
        x, nt_type=kind, nt_samples=16, stdevs=0.1, target=y, abs=False
    )


def perturbing(kind: Any, **settings: Any) -> Call:
    return lambda m, x, y: kind(m).attribute(
        x, target=y, feature_mask=squares(x), perturbations_per_eval=64, **settings
    )


def one_by_one(call: Call) -> Call:
    return lambda m, x, y: torch.cat([call(m, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])


CAPTUM: dict[str, Call] = {
    "saliency": lambda m, x, y: attr.Saliency(m).attribute(x, target=y, abs=False),
    "input-x-gradient": lambda m, x, y: attr.InputXGradient(m).attribute(x, target=y),
    "ig": lambda m, x, y: attr.IntegratedGradients(m).attribute(x, target=y, n_steps=32),
    "smoothgrad": noise_tunnel("smoothgrad"),
    "smoothgrad-square": noise_tunnel("smoothgrad_sq"),
    "vargrad": noise_tunnel("vargrad"),
    "gradient-shap": lambda m, x, y: attr.GradientShap(m).attribute(
        x, torch.rand(5, *x.shape[1:]), n_samples=16, target=y
    ),
    "deeplift": lambda m, x, y: attr.DeepLift(apart(m)).attribute(x, target=y),
    "deeplift-shap": lambda m, x, y: attr.DeepLiftShap(apart(m)).attribute(x, torch.rand(5, *x.shape[1:]), target=y),
    "guided-backprop": lambda m, x, y: attr.GuidedBackprop(by_hand(m)).attribute(x, target=y),
    "deconvolution": lambda m, x, y: attr.Deconvolution(by_hand(m)).attribute(x, target=y),
    "gradcam": lambda m, x, y: attr.LayerGradCam(m, feature_map(m)).attribute(x, target=y),
    "guided-gradcam": lambda m, x, y: attr.GuidedGradCam(m, feature_map(m)).attribute(x, target=y),
    "occlusion": lambda m, x, y: attr.Occlusion(m).attribute(
        x, (3, 4, 4), strides=(3, 2, 2), target=y, perturbations_per_eval=8
    ),
    "feature-ablation": perturbing(attr.FeatureAblation),
    "shapley-sampling": perturbing(attr.ShapleyValueSampling, n_samples=10),
    "kernel-shap": one_by_one(perturbing(attr.KernelShap, n_samples=200)),
    "lime": one_by_one(perturbing(attr.Lime, n_samples=200)),
}


def peak(job: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and MiB by which the resident memory rose."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, started = resident("VmRSS"), time.perf_counter()
    job()
    return time.perf_counter() - started, resident("VmHWM") - before


def resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def cost(job: Callable[[], object]) -> tuple[float, float]:
    def runs() -> tuple[float, float]:
        (first, memory), (second, _) = peak(job), peak(job)
        return min(first, second), memory

    return in_child(runs)


def in_child(job: Callable[[], Any]) -> Any:
    """What a job returns in a process of its own, whose memory starts as small as this one's."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=lambda: there.send(job()))
    child.start()
    found = here.recv()
    child.join()
    return found


def value_error(explainer: Explainer, name: str, model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Against the oracle, relative to the largest value."""
    wanted = STOCK[name](model, x, y, torch.Generator().manual_seed(0)).detach()
    found = explainer(model, x, y, generator=torch.Generator().manual_seed(0))
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def slope_error(explainer: Explainer, model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Of the derivative against central differences, relative, in the best of eight directions for each image.

    Directions across a kink of the network have no derivative, hence the best, and hence a little noise against ties.
    """
    draw = torch.Generator().manual_seed(1)
    x = 0.98 * x + 0.01 * torch.rand(x.shape, generator=draw, dtype=x.dtype)
    weights = torch.randn(x.shape, generator=draw, dtype=x.dtype)

    def value(images: Tensor, create_graph: bool) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return (explainer(model, images, y, create_graph=create_graph, generator=generator) * weights).sum((1, 2, 3))

    attached = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(attached, True).sum(), attached)
    errors = []
    for _ in range(8):
        u = torch.randn(x.shape, generator=draw, dtype=x.dtype)
        slope = (value(x + 1e-8 * u, False) - value(x - 1e-8 * u, False)) / 2e-8
        scale = (gradient * u).abs().sum((1, 2, 3)) + value(x, False).abs()
        errors.append(((gradient * u).sum((1, 2, 3)) - slope).abs() / scale)
    return float(torch.stack(errors).amin(dim=0).max())


def main(weights: str, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = ImageFolder().load(Path(os.environ["ATTROBUST_DATA"]))
    model = LeNet().build(image_facts(data)).eval()
    load_weights(model, read_weights(Path(weights))[0], weights)
    smooth = softplus_model(model, 10.0)
    for network in (model, smooth):
        network.requires_grad_(False)
    images = data.splits["test"].batch(range(16))[0]
    print(
        "| explainer | derivative | value error | slope error | s | Captum s | MiB | Captum MiB | step s | step MiB |"
    )
    for name in names or registry.names():
        explainer = registry.get(name)()
        count = SLOW.get(name, 16)
        x = images[:count]
        y = model(x).argmax(dim=1)
        exact, bent = copy.deepcopy(model).double(), copy.deepcopy(smooth).double()
        cells = ["yes" if explainer.differentiable else "no"]
        few = x[:2].double(), y[:2]
        cells.append(f"{in_child(lambda: value_error(explainer, name, exact, *few)):.0e}")  # noqa: B023
        light = registry.get(name)(**({"steps": 3, "unroll": 3} if name == "relex" else {}))
        slope = in_child(lambda: slope_error(light, bent, *few)) if explainer.differentiable else None  # noqa: B023
        cells.append("" if slope is None else f"{slope:.0e}")
        ours = cost(lambda: explainer(model, x, y))  # noqa: B023
        stock = cost(lambda: CAPTUM[name](model, x, y)) if name in CAPTUM else None  # noqa: B023
        step = cost(lambda: followed(explainer, smooth, x, y)) if explainer.differentiable else None  # noqa: B023
        scale = 100 / count
        cells += [f"{ours[0] * scale:.2f}", f"{stock[0] * scale:.2f}" if stock else ""]
        cells += [f"{ours[1]:.0f}", f"{stock[1]:.0f}" if stock else ""]
        cells += [f"{step[0] * scale:.2f}" if step else "", f"{step[1]:.0f}" if step else ""]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def followed(explainer: Explainer, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A map and its derivative, as an attack takes them."""
    attached = x.clone().requires_grad_()
    total = explainer(model, attached, y, create_graph=True).square().sum()
    return torch.autograd.grad(total, attached)[0]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
