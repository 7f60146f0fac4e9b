"""What a step of an attack costs, in passes; run by hand: ``PYTHONPATH=.:tests python tests/speed/attack_step.py``.

The unit is one forward pass and one input gradient of the same batch. ``exact`` is the floor: a loop written out below
that differentiates the map's mass on the clean top k twice, with the prediction from the same forward pass.
``published`` is the structure of AGA's loop: a map as a frame, by Adam, with parameters that require gradients. The
rest are our attacks. All are CPU seconds on one thread of LeNets trained here on real digits of 32×32, and the cost of
a step is that of a long attack less that of a short one, divided by the difference of their steps. Ours are measured
with 32 images that differ.

    --repeats N    the fastest of N, 3 by default
    --images N     32 by default
    --only NAME    rows whose name contains NAME
    --denormals    let the unit and the loops written out here compute with denormal numbers; ours never do
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.attacks import registry
from attrobust.attacks.auto import DRAWS, Auto, descent
from attrobust.attacks.base import Attack, Context
from attrobust.attacks.noise import Noise
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.models.lenet import LeNet
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.naming.component import resolve_one
from attrobust.networks.smoothed import softplus_model
from attrobust.threat import ThreatModel

SHORT, LONG = 2, 14
OURS = (
    "frame:variant=paper",
    "frame",
    "topk",
    "direct:score=cosine",
    "direct:score=topk",
    "direct:score=spearman",
    "direct:score=pearson",
    "direct:score=ssim",
)
EPS = 8 / 255


@dataclass(frozen=True)
class Bench:
    """A network and images, and how they are measured."""

    network: nn.Module
    x: Tensor
    y: Tensor
    partners: Tensor
    repeats: int

    @property
    def context(self) -> Context:
        return Context(
            model=self.network,
            explainer=Saliency(),
            reduce=lambda maps: reduce_map(maps, "abs-sum"),
            threat=ThreatModel(eps=EPS),
            ids=range(len(self.x)),
            partners=self.partners,
        )


def trained(data: Loaded, softplus: bool) -> nn.Module:
    """A LeNet after four epochs of natural training; one with softplus activations where asked for."""
    torch.manual_seed(0)
    network = LeNet().network(image_facts(data))
    network = softplus_model(network, 20.0) if softplus else network
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    x, y = data.splits["train"].batch(range(len(data.splits["train"])))
    for _ in range(4):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[part]), y[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval().requires_grad_(False)


def seconds(job: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the fastest of some repeats."""
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        job()
        taken.append(time.process_time() - started)
    return min(taken)


def gradient(network: nn.Module, x: Tensor, y: Tensor, graph: bool = False) -> tuple[Tensor, Tensor]:
    """The map of an image and the logits, which it shares a forward pass with."""
    logits = network(x)
    (found,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x, create_graph=graph)
    return found.abs().sum(dim=1), logits


def exact(bench: Bench, steps: int) -> None:
    """Signed descent of the mass on the clean top k; the prediction is kept by staying where it changes."""
    network, clean, y = bench.network, bench.x, bench.y
    maps, _ = gradient(network, clean.clone().requires_grad_(), y)
    flat = maps.flatten(1)
    top = torch.zeros_like(flat).scatter_(1, flat.topk(flat.shape[1] // 10).indices, 1.0).view_as(maps)
    x = clean
    for _ in range(steps):
        attached = x.detach().requires_grad_()
        maps, logits = gradient(network, attached, y, graph=True)
        share = (maps * top).sum(dim=(1, 2)) / maps.sum(dim=(1, 2))
        (slope,) = torch.autograd.grad(share.sum(), attached)
        kept = (logits.argmax(dim=1) == y).view(-1, 1, 1, 1)
        moved = (clean + (x - EPS / 10 * slope.sign() - clean).clamp(-EPS, EPS)).clamp(0, 1)
        x = torch.where(kept, moved, x)


def published(bench: Bench, steps: int) -> None:
    """A map as a frame by Adam, and the logits kept by a penalty; the parameters require gradients."""
    network, clean, y = bench.network, bench.x, bench.y
    goal = torch.ones(clean.shape[-2:])
    goal[5:-5, 5:-5] = 0.0
    network.requires_grad_(True)
    before = network(clean).detach()
    x = clean.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=EPS / 10)
    for _ in range(steps):
        maps, logits = gradient(network, x, y, graph=True)
        maps = maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-8)
        loss = (maps - goal).square().sum(dim=(1, 2)).mean() + (logits - before).square().mean()
        (x.grad,) = torch.autograd.grad(loss, x)
        optimizer.step()
        x.data = (clean + (x.data - clean).clamp(-EPS, EPS)).clamp(0, 1)
    network.requires_grad_(False)


def ours(name: str) -> Callable[[Bench, int], None]:
    """An attack of the registry, as a function of its steps."""

    def run(bench: Bench, steps: int) -> None:
        attack = resolve_one(registry, f"{name}{',' if ':' in name else ':'}steps={steps}", Attack).item
        attack(bench.context, bench.x, bench.y)

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--only", default="")
    parser.add_argument("--denormals", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(not arguments.denormals)
    data = Digits(size=32).load(None)
    x, _ = data.splits["test"].batch(range(arguments.images))
    benches = {}
    for kind in ("softplus", "ReLU"):
        network = trained(data, kind == "softplus")
        with torch.no_grad():
            y = network(x).argmax(dim=1)
        benches[kind] = Bench(network=network, x=x, y=y, partners=x.roll(1, 0), repeats=arguments.repeats)
    rows = {"exact": exact, "published": published} | {name: ours(name) for name in OURS}
    print(f"{'passes a step':24}" + "".join(f"{kind:>10}" for kind in benches))
    for name, attack in rows.items():
        if arguments.only in name:
            line = "".join(f"{step(bench, attack):10.2f}" for bench in benches.values())
            print(f"{name:24}{line}", flush=True)
    if arguments.only in "auto":
        line = "".join(f"{ensemble(bench):10.2f}" for bench in benches.values())
        print(f"{'auto / its members':24}{line}")


def step(bench: Bench, attack: Callable[[Bench, int], None]) -> float:
    """What a step costs, in passes of the batch."""
    attached = bench.x.clone().requires_grad_()
    gradient(bench.network, attached, bench.y)
    unit = seconds(lambda: gradient(bench.network, attached, bench.y), 4 * bench.repeats)
    long, short = (seconds(lambda steps=steps: attack(bench, steps), bench.repeats) for steps in (LONG, SHORT))  # type: ignore[misc]
    return (long - short) / (LONG - SHORT) / unit


def ensemble(bench: Bench) -> float:
    """What ``auto`` costs, in what its members cost that each image sees: the draws and three descents."""
    members = [Noise(draws=DRAWS).run, *(descent(score) for score in Auto().scores)]
    alone = sum(seconds(lambda member=member: member(bench.context, bench.x, bench.y), 1) for member in members)  # type: ignore[misc]
    return seconds(lambda: Auto()(bench.context, bench.x, bench.y), 1) / alone


if __name__ == "__main__":
    main()
