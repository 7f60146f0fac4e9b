"""What attacks on ResNet-18 cost compared with a loop written by hand that makes the same passes; run by hand.

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/speed/hand_written_loop.py [NAME ...] [--pairs N]

One thread, processor seconds, images of 224×224 of an untrained network, saliency. A loop has what its attack has: the
same smoothed model, at each step its map and the derivative of the objective, the map and the logits of the network
that are scored, projection, and the best point that keeps the prediction. It has a fixed step where an attack adapts
its own, and computes with the functions of torch alone. Loop and attack alternate; the figure is the median of the
ratios of pairs, with the smallest and the largest. Passes of both are counted first, and have to be equal.

    NAME         topk, direct or frame; all of them by default
    --pairs N    5 by default
    --steps N    10 by default
    --images N   2 by default
    --side N     224 by default
    --ours       the loops compute with the convolution and softplus of the attacks, see networks.second_order
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.attacks import registry
from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.descent import GradientAttack
from attrobust.attacks.engine.feasible import Objective
from attrobust.benchmark.models.resnet import ResNet18ImageNet
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import ImageStreams
from attrobust.naming.component import resolve_one
from attrobust.networks.passes import counted
from attrobust.networks.second_order import SecondOrder
from attrobust.process import standard
from attrobust.threat import ThreatModel
from attrobust.types import ImageFacts

ATTACKS = {"topk": "topk", "direct": "direct:score=cosine", "frame": "frame"}
EPS = 8 / 255
STEP = EPS / 4


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A loop written by hand.

    Attributes:
        attack: whose smoothed model and objective it has.
        context: of the images.
        x, y: these, and their explained classes.
        own: whether it computes with the functions of the attacks.
    """

    attack: GradientAttack
    context: Context
    x: Tensor
    y: Tensor
    own: bool

    def __call__(self) -> Tensor:
        """The images of lowest objective, B×C×H×W."""
        network, clean = self.context.model, self.x
        predicted = self._predict(clean)
        smoothed = self.attack.differentiated(self.context, clean)
        known = self.context.remembering(clean, self.y)
        objective = self.attack.objective(known, clean, self.y)
        best, lowest = clean.clone(), objective(known.maps(clean, self.y))
        x = self._start()
        for iteration in range(self.attack.steps + 1):
            maps, logits = mapped(network, x, self.y)
            score, kept = objective(maps), logits.argmax(dim=1) == predicted
            better = kept & (score < lowest)
            best = torch.where(better.view(-1, 1, 1, 1), x, best)
            lowest = torch.where(better, score, lowest)
            if iteration < self.attack.steps:
                smoothed.cool(self.attack.cooling(iteration))
                slope = self._slope(smoothed.network, x, objective)
                x = self.context.threat.project(clean, x - STEP * slope.sign())
        return torch.where((self._predict(best) == predicted).view(-1, 1, 1, 1), best, clean)

    def _predict(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.context.model(x).argmax(dim=1)  # type: ignore[no-any-return]

    def _start(self) -> Tensor:
        streams = ImageStreams(self.context.seed, self.context.ids, "start")
        return self.context.threat.scatter(self.x, streams.uniform(self.x))

    def _slope(self, network: nn.Module, x: Tensor, objective: Objective) -> Tensor:
        attached = x.detach().requires_grad_()
        with SecondOrder() if self.own else contextlib.nullcontext():
            maps, _ = mapped(network, attached, self.y, graph=True)
        (slope,) = torch.autograd.grad(objective(maps).sum(), attached)
        return slope


def mapped(network: nn.Module, x: Tensor, y: Tensor, *, graph: bool = False) -> tuple[Tensor, Tensor]:
    """Maps B×H×W and logits B×K, of one forward pass."""
    x = x if graph else x.detach().requires_grad_()
    logits: Tensor = network(x)
    (found,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x, create_graph=graph)
    return reduce_map(found, "abs-sum"), logits.detach()


def seconds(job: Callable[[], object]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def main() -> None:
    """Print a line for each attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    for name, default in (("pairs", 5), ("steps", 10), ("images", 2), ("side", 224)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ours", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    facts = ImageFacts(channels=3, size=asked.side, classes=10, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    network = ResNet18ImageNet().network(facts).eval().requires_grad_(False)
    x = torch.rand(asked.images, 3, asked.side, asked.side)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    context = Context(
        model=network,
        explainer=Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=EPS),
        ids=range(len(x)),
        partners=x.roll(1, 0),
    )
    for name in asked.names or ATTACKS:
        spec = ATTACKS[name]
        attack = resolve_one(registry, f"{spec}{',' if ':' in spec else ':'}steps={asked.steps}", Attack).item
        assert isinstance(attack, GradientAttack)
        loop = Loop(attack=attack, context=context, x=x, y=y, own=asked.ours)
        with standard():
            passes = []
            for job in (lambda: attack(context, x, y), loop):  # noqa: B023
                with counted(network) as found:
                    job()
                passes.append((found.forward, found.backward, found.double_backward))
            pairs = [(seconds(lambda: attack(context, x, y)), seconds(loop)) for _ in range(asked.pairs)]  # noqa: B023
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        print(
            f"{name:8} {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}), "
            f"{statistics.median(ours for ours, _ in pairs):.1f} s, passes {passes[0]} and {passes[1]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
