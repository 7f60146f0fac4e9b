"""Processor seconds of a training step against what its passes cost, for every method; run by hand.

    OMP_NUM_THREADS=1 PYTHONPATH=. python tests/speed/training.py [METHOD ...]

A step on 32 random images of 1×28×28 pixels by LeNet is compared with the plain step, and with its card's passes at the
prices of this network: F is a forward pass in training mode, B what a plain step takes more, H what a step through the
norm of the input gradient takes more than F + 2B. Prices are measured on the network that the method trains, with the
optimiser's part left out, and alternate with the method's steps. Passes are not all alike: a backward pass to the input
alone is cheaper than B, which goes to the weights too, so that methods with inner attacks are below 1. A derivative of
the Hessian, as of ``hessian``, counts as H like that of a gradient, and goes through a graph about twice as large: of
this network it takes 45 convolutions where the passes of its card are 37 (1.2), torch takes 49, and with activations
such methods are at 1.5. The last column is 1.0 where a step costs what its passes do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.benchmark.models.lenet import LeNet
from attrobust.methods import registry
from attrobust.methods.base import SCRATCH, Batch, Method
from attrobust.networks.copying import independent_copy
from attrobust.types import ImageFacts

COUNT = 32
FACTS = ImageFacts(channels=1, size=28, classes=10, mean=(0.3,), std=(0.3,))


def seconds(job: Callable[[], object]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def fastest(jobs: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Seconds of the fastest of alternating calls."""
    found = [{name: seconds(job) for name, job in jobs.items()} for _ in range(rounds + 1)][1:]
    return {name: min(times[name] for times in found) for name in jobs}


def plain(network: nn.Module, x: Tensor, y: Tensor) -> None:
    F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]


def penalised(network: nn.Module, x: Tensor, y: Tensor) -> None:
    attached = x.clone().requires_grad_()
    loss = F.cross_entropy(network(attached), y)
    (gradient,) = torch.autograd.grad(loss, attached, create_graph=True)
    (loss + gradient.square().sum()).backward()


def step(method: Method, network: nn.Module, batch: Batch) -> None:
    for loss in method.losses(network, batch):
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]


def row(name: str) -> str:
    torch.manual_seed(0)
    method: Method = registry.get(name)()
    network = method.prepare(LeNet().build(FACTS)).train()
    x, y = torch.rand(COUNT, 1, 28, 28), torch.arange(COUNT) % 10
    batch = Batch(
        x=x,
        y=y,
        generator=torch.Generator().manual_seed(0),
        progress=0.5,
        start=None if method.start == SCRATCH else independent_copy(network).eval().requires_grad_(False),
        gaze=torch.rand(COUNT, 28, 28),
    )
    times = fastest(
        {
            "forward": lambda: network(x),
            "plain": lambda: plain(network, x, y),
            "penalised": lambda: penalised(network, x, y),
            "step": lambda: step(method, network, batch),
        }
    )
    forward, backward = times["forward"], times["plain"] - times["forward"]
    double = times["penalised"] - forward - 2 * backward
    cost = method.cost(FACTS.classes)
    assert cost is not None
    passes = cost.forward * forward + cost.backward * backward + cost.double_backward * double
    return f"| {name} | {cost} | {times['step'] / times['plain']:.1f} | {times['step'] / passes:.2f} |"


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print("| method | passes | step / plain step | step / its passes |\n|---|---|---|---|")
    for name in names or registry.names():
        try:
            print(row(name), flush=True)
        except (ValueError, RuntimeError, TypeError) as error:
            print(f"| {name} | {error} | | |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="METHOD")
    words = parser.parse_args().words
    main(words)
