"""The contract of training methods."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust import methods
from attrobust.benchmark.contract.bench import Bench, in_colour
from attrobust.benchmark.contract.claims import Contract, require
from attrobust.benchmark.contract.traces import Traces, no_global_randomness
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training.loop import fresh_network
from attrobust.methods.base import SCRATCH, Batch, Method
from attrobust.networks.copying import independent_copy
from attrobust.networks.passes import counted
from attrobust.types import Cost, ImageFacts

FEW = {"steps": 2, "points": 2, "attack_points": 1, "draws": 2, "copies": 2, "samples": 2}
"""Settings that decide how many passes a step takes, and the largest values that are tried."""
CONTRACT: Contract[Method] = Contract("method", Method, "losses", "loss", few=FEW)
DROPOUT = nn.modules.dropout._DropoutNd
"""Layers that draw from torch's own random state."""
LEARNED_FROM = 320
"""Number of images that are trained on to see whether a method learns."""
LEARNED = 0.01
"""Decrease of the cross-entropy, in nats, from which a method counts as learning."""


@dataclass(frozen=True, kw_only=True)
class Normalised(LeNet):
    """LeNet with batch normalisation after its first convolution."""

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``."""
        network = super().network(facts)
        features = network.get_submodule("features")
        features[0] = nn.Sequential(features[0], nn.BatchNorm2d(self.width))  # type: ignore[operator, index]
        return network


@CONTRACT.claim(short=True)
def loss_is_finite(method: Method, bench: Bench) -> None:
    """Every loss is a finite scalar for real images."""
    model, count = bench.fresh(method), 0
    for loss in method.losses(model, bench.batch(method)):
        require(isinstance(loss, Tensor), f"the loss is a {type(loss).__name__}, not a tensor")
        require(loss.shape == (), f"the loss has shape {tuple(loss.shape)}; return one number, such as its mean")
        require(bool(loss.detach().isfinite()), f"the loss of real images is {float(loss.detach())}")
        count += 1
    require(count > 0, "losses yields nothing; yield at least one loss for every batch")


@CONTRACT.claim(short=True)
def start_is_known(method: Method, bench: Bench) -> None:
    """It starts from scratch or from a method that there is."""
    if method.start != SCRATCH:
        methods.registry.check(method.start)


@CONTRACT.claim(short=True)
def cost_is_a_number_of_passes(method: Method, bench: Bench) -> None:
    """The cost of a step is a Cost, or None."""
    cost = method.cost(classes=bench.facts.classes)
    require(cost is None or isinstance(cost, Cost), f"cost returned {type(cost).__name__}, not a Cost")


@CONTRACT.claim(short=True)
def gradients_reach_weights(method: Method, bench: Bench) -> None:
    """Gradients reach every weight."""
    model = bench.fresh(method)
    for loss in method.losses(model, bench.batch(method)):
        model.zero_grad()
        require(loss.requires_grad, "the loss has no graph; leave out no_grad, detach, item and numpy")
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                require(parameter.grad is not None, f"no gradient reaches {name}")
                require(bool(torch.as_tensor(parameter.grad).isfinite().all()), f"the gradient of {name} is not finite")


@CONTRACT.claim(short=True)
def everything_is_left_alone(method: Method, bench: Bench) -> None:
    """Images, labels, weights, modes, gradients and hooks are left alone."""
    model, batch = bench.fresh(method), bench.batch(method)
    traces = Traces.of(model, x=batch.x, y=batch.y)
    start = None if batch.start is None else Traces.of(batch.start)
    for _ in method.losses(model, batch):
        traces.require_none(statistics=True)
        if start:
            start.require_none()


@CONTRACT.claim(short=True)
def randomness_is_the_generators(method: Method, bench: Bench) -> None:
    """Random numbers come from the generator alone, and are drawn at every call."""
    # As many images as in no other claim, so that nothing is known of them yet.
    model, count = bench.fresh(method), 3
    found, states = [], []
    # The loop seeds torch for layers that draw by themselves.
    draws = any(isinstance(module, DROPOUT) for module in model.modules())
    with nullcontext() if draws else no_global_randomness():
        for _ in range(2):
            batch = bench.batch(method, seed=3, count=count)
            if draws:
                torch.manual_seed(0)
            found.append([loss.detach() for loss in method.losses(independent_copy(model), batch)])
            states.append(batch.generator.get_state())
    same = len(found[0]) == len(found[1]) and all(map(torch.equal, *found))
    require(same, "the same batch and generator give two losses; keep no state between calls")
    drawn = torch.equal(states[0], states[1])
    require(drawn, "the first call draws other numbers than the next; draw at every call, and keep nothing")


@CONTRACT.claim()
def loss_is_a_mean(method: Method, bench: Bench) -> None:
    """A batch's loss is a mean over its images."""
    model, batch = bench.fresh(method), bench.batch(method)

    def value(rows: list[int], seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        part = dataclasses.replace(batch, x=batch.x[rows], y=batch.y[rows], generator=generator)
        torch.manual_seed(seed)
        return float(next(iter(method.losses(independent_copy(model), part))).detach())

    rows = list(range(len(batch.y)))
    single, other, double = value(rows, 0), value(rows, 1), value(2 * rows, 0)
    if single == other:
        problem = f"each image twice makes the loss {double:.4g}, once {single:.4g}; divide by the number of images"
        require(abs(double - single) <= 1e-3 * abs(single) + 1e-6, problem)


@CONTRACT.claim()
def settings_change_a_step(method: Method, bench: Bench) -> None:
    """Every setting that is a number changes the gradient of a step, or is without effect."""
    # Some terms are about batch normalisation, some about networks without.
    families: list[ModelFamily] = [bench.family, Normalised(width=8, hidden=16)]
    wanted = [_gradient(method, bench, family) for family in families]
    for field in dataclasses.fields(method):
        # Past the eye that watches whether the author reads it.
        value = vars(method)[field.name]
        if type(value) is not float or field.name in method.without_effect:
            continue
        others = []
        for changed in (2 * value, value / 2, value / 100) if value else (0.1, 1.0):
            with suppress(TypeError, ValueError):
                others.append(dataclasses.replace(method, **{field.name: changed}))
        steps = [(other, *pair) for other in others for pair in zip(families, wanted, strict=True)]
        if steps and all(torch.equal(_gradient(other, bench, family), before) for other, family, before in steps):
            problem = (
                f"twice, half and less of {field.name}={value:g} give the same gradient; is its term part of the graph"
            )
            require(False, f"{problem} (create_graph=True)?")


def _gradient(method: Method, bench: Bench, family: ModelFamily) -> Tensor:
    """Of all weights of a fresh network, after each loss of a batch in turn."""
    torch.manual_seed(0)
    model, found = bench.fresh(method, family=family), list[Tensor]()
    for loss in method.losses(model, bench.batch(method, family=family)):
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        found += [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return torch.cat(found)


@CONTRACT.claim()
def statistics_are_counted(method: Method, bench: Bench) -> None:
    """Running statistics are updated as often as batch_statistics says."""
    family = Normalised(width=8, hidden=16)
    model = bench.fresh(method, family=family)
    for loss in method.losses(model, bench.batch(method, family=family)):
        loss.backward()  # type: ignore[no-untyped-call]
    updates = [int(value) for name, value in model.named_buffers() if name.endswith("num_batches_tracked")]
    stated = method.batch_statistics
    problem = f"a step makes {updates and updates[0]} passes in training mode, batch_statistics says {stated}"
    require(not updates or updates[0] == stated, f"{problem}; use evaluating(model) for the others")


@CONTRACT.claim()
def passes_are_counted(method: Method, bench: Bench) -> None:
    """A step takes the passes that cost says."""
    stated = method.cost(classes=bench.facts.classes)
    if stated is None:
        return
    model, batch = bench.fresh(method), bench.batch(method)
    with counted(*([model] if batch.start is None else [model, batch.start]), weights=True) as passes:
        for loss in method.losses(model, batch):
            loss.backward()  # type: ignore[no-untyped-call]
    found = [count / len(batch.x) for count in (passes.forward, passes.backward, passes.double_backward)]
    wanted = [stated.forward, stated.backward, stated.double_backward]
    words = "forward, backward and double backward"
    require(found == wanted, f"cost says {wanted} passes {words}, a step takes {found}")


@CONTRACT.claim()
def preparing_is_idempotent(method: Method, bench: Bench) -> None:
    """Preparing a network twice is preparing it once."""
    model = bench.fresh(method).eval()
    once = model(bench.x)
    twice = method.prepare(model).eval()(bench.x)
    require(torch.equal(once, twice), "prepare changes a network that it has prepared already")


@CONTRACT.claim()
def other_images_work(method: Method, bench: Bench) -> None:
    """Colour images of another size, with another number of classes, are learned from too."""
    facts = ImageFacts(channels=3, size=20, classes=4, mean=(0.3,) * 3, std=(0.3,) * 3)
    try:
        method.check_images(channels=3, size=20, classes=4, gaze=False)
    except ValueError:
        return
    given = bench.batch(method)
    x = in_colour(given.x, 20)
    data = dataclasses.replace(
        bench.data, classes=("a", "b", "c", "d"), channels=3, size=20, mean=facts.mean, std=facts.std
    )
    family: ModelFamily = LeNet(width=4, hidden=8)
    model = fresh_network(method, family, data, seed=0).train()
    start = None if given.start is None else fresh_network(method, family, data, seed=1).eval()
    batch = Batch(x=x, y=given.y % 4, generator=given.generator, progress=0.5, start=start)
    for loss in method.losses(model, batch):
        require(bool(loss.detach().isfinite()), f"the loss of colour images is {float(loss.detach())}")


@CONTRACT.claim()
def training_is_deterministic(method: Method, bench: Bench) -> None:
    """The same seed gives the same weights."""
    states = [bench.trained(method, images=64).state_dict() for _ in range(2)]
    same = all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    require(same, "two trainings from one seed give different weights; keep no state between them")


@CONTRACT.claim()
def training_learns(method: Method, bench: Bench) -> None:
    """Training lowers the cross-entropy of the images it is given."""
    x, y = bench.data.splits["train"].batch(range(LEARNED_FROM))
    networks = (bench.fresh(method).eval(), bench.trained(method, images=LEARNED_FROM))
    with torch.no_grad():
        before, after = (float(nn.functional.cross_entropy(network(x), y)) for network in networks)
    problem = f"a little training takes the cross-entropy from {before:.4f} to {after:.4f}"
    require(after < before - LEARNED, f"{problem}; does the loss use y, with the right sign?")
