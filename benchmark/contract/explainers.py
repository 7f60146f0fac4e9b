"""The contract of explainers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrobust.benchmark.contract.bench import Bench, in_colour, smooth_version
from attrobust.benchmark.contract.claims import Contract, require
from attrobust.benchmark.contract.traces import Traces, no_global_randomness
from attrobust.benchmark.contract.transformer import small_transformer
from attrobust.benchmark.models.lenet import LeNet
from attrobust.explainers.base import Explainer
from attrobust.networks.copying import independent_copy
from attrobust.networks.passes import counted
from attrobust.types import ImageFacts

FEW = {"steps": 4, "samples": 24}
"""Settings that decide how long an explanation takes, and the largest values that are tried."""
CONTRACT: Contract[Explainer] = Contract("explainer", Explainer, "attribute", few=FEW)


def explain(explainer: Explainer, model: nn.Module, x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    """Maps without a graph, with the draws of a seed."""
    return explainer(model, x, y, generator=torch.Generator().manual_seed(seed))


def precise(bench: Bench, draw: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    """Network, images and classes in float64, with a little noise against exact ties of max-pooling.

    Args:
        bench: whose network and images.
        draw: of the noise; images of another draw were never explained before.
    """
    return independent_copy(bench.network).double(), bench.unseen(draw).double(), bench.y


def close(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether maps differ by at most a share of the largest value, image by image."""
    scale = wanted.flatten(1).abs().amax(dim=1)
    return bool(((found - wanted).flatten(1).abs().amax(dim=1) <= tolerance * scale).all())


@CONTRACT.claim(short=True)
def maps_are_finite(explainer: Explainer, bench: Bench) -> None:
    """Maps of real images have the shape and type of the images and are finite."""
    maps = explain(explainer, independent_copy(bench.network), bench.x, bench.y)
    require(maps.dtype == bench.x.dtype, f"maps of {bench.x.dtype} images are {maps.dtype}; keep the type of x")
    require(bool(maps.isfinite().all()), "the explainer gives NaN or infinity for a real image")


@CONTRACT.claim(short=True)
def everything_is_left_alone(explainer: Explainer, bench: Bench) -> None:
    """Images, network, modes, gradients and hooks are left alone."""
    model, x, y = independent_copy(bench.network), bench.x, bench.y
    traces = Traces.of(model, x=x, target=y)
    # The author's function itself: the base class may hand it copies.
    with torch.enable_grad():
        explainer.attribute(model, x, y, create_graph=False, generator=torch.Generator().manual_seed(0))
    traces.require_none()


@CONTRACT.claim(short=True)
def randomness_is_the_generators(explainer: Explainer, bench: Bench) -> None:
    """Random numbers come from the generator alone."""
    model, x, y = precise(bench)
    with no_global_randomness():
        first, again = (explain(explainer, model, x, y) for _ in range(2))
    require(torch.equal(first, again), "the same generator gives two maps; keep no state between calls")


@CONTRACT.claim(short=True)
def nothing_is_kept(explainer: Explainer, bench: Bench) -> None:
    """Maps are those of the network and class that are asked for, whatever was explained before."""
    model, x, y = precise(bench, draw=2)
    passes = []
    for network in (model, bench.other().double()):
        with counted(network) as count:
            explain(explainer, network, x, y)
        passes.append(count.forward)
    problem = "the same images are explained for another network without a pass through it; keep nothing between calls"
    require(not passes[0] or bool(passes[1]), problem)


@CONTRACT.claim(short=True)
def stochastic_is_honest(explainer: Explainer, bench: Bench) -> None:
    """Stochastic says whether maps depend on the generator."""
    model, x, y = precise(bench)
    differ = not torch.equal(explain(explainer, model, x, y, seed=0), explain(explainer, model, x, y, seed=1))
    if differ:
        problem = "maps change with the generator; say stochastic: ClassVar[bool] = True"
        require(type(explainer).stochastic, problem)
    else:
        require(not type(explainer).stochastic, "stochastic is True, but maps do not change with the generator")


@CONTRACT.claim(short=True)
def maps_are_their_images(explainer: Explainer, bench: Bench) -> None:
    """A map does not depend on the other images of its batch."""
    model, x, y = precise(bench)
    together = explain(explainer, model, x, y)
    alone = torch.cat([explain(explainer, model, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    problem = "an image's map depends on the images beside it; compute image by image, and draw once for all images"
    require(close(alone, together, 1e-7), problem)


@CONTRACT.claim(short=True)
def graph_is_built(explainer: Explainer, bench: Bench) -> None:
    """A map with a graph is that without one, and has a derivative."""
    if not explainer.differentiable:
        return
    model, x, y = precise(bench)
    smoothed = smooth_version(model)
    attached = x.clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    maps = explainer(smoothed, attached, y, create_graph=True, generator=generator)
    wanted = explain(explainer, smoothed, x, y)
    require(close(maps.detach(), wanted, 1e-7), "a map with create_graph=True is another than without it")
    (gradient,) = torch.autograd.grad(maps.square().sum(), attached, allow_unused=True)
    require(
        gradient is not None, "create_graph=True gives a map without a graph back to x; or let differentiable be False"
    )
    require(bool(torch.as_tensor(gradient).isfinite().all()), "the derivative of the map is not finite")


@CONTRACT.claim()
def derivative_is_right(explainer: Explainer, bench: Bench) -> None:
    """The derivative of a map is that of finite differences."""
    if not explainer.differentiable:
        return
    _, x, y = precise(bench)
    x, y = x[:2], y[:2]
    model, draw = independent_copy(bench.smooth).double(), torch.Generator().manual_seed(2)
    weights = torch.randn(x.shape, generator=draw, dtype=torch.float64)

    def value(images: Tensor, *, create_graph: bool = False) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return (explainer(model, images, y, create_graph=create_graph, generator=generator) * weights).sum((1, 2, 3))

    attached = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(attached, create_graph=True).sum(), attached)
    level, agreed, judged = value(x).abs(), 0, 0
    for _ in range(4):
        direction = torch.randn(x.shape, generator=draw, dtype=torch.float64)
        slopes = [(value(x + h * direction) - value(x - h * direction)) / (2 * h) for h in (1e-6, 3e-7)]
        found = (gradient * direction).sum((1, 2, 3))
        scale = (gradient.abs() * direction.abs()).sum((1, 2, 3)) + level
        # Where two step sizes disagree, a max-pool switches between the points and there is no derivative.
        smooth = (slopes[0] - slopes[1]).abs() <= 1e-6 * scale
        agreed += int((smooth & ((found - slopes[0]).abs() <= 1e-4 * scale)).sum())
        judged += int(smooth.sum())
    problem = f"the derivative differs from finite differences for {judged - agreed} of {judged} directions"
    require(agreed == judged, f"{problem}; build all of the map with create_graph, or let differentiable be False")


@CONTRACT.claim()
def points_near_images_are_fine(explainer: Explainer, bench: Bench) -> None:
    """Points just outside of [0, 1], where attacks and metrics look too, have finite maps."""
    maps = explain(explainer, independent_copy(bench.network), 1.1 * bench.x - 0.05, bench.y)
    require(bool(maps.isfinite().all()), "a point just outside of [0, 1] has a map that is not finite")


@CONTRACT.claim()
def flat_images_are_fine(explainer: Explainer, bench: Bench) -> None:
    """Flat images have finite maps."""
    model = independent_copy(bench.network)
    for level in (0.0, 0.5, 1.0):
        maps = explain(explainer, model, torch.full_like(bench.x, level), bench.y)
        require(bool(maps.isfinite().all()), f"an image that is {level:g} everywhere has a map that is not finite")


@CONTRACT.claim()
def target_is_explained(explainer: Explainer, bench: Bench) -> None:
    """The class that is asked for is explained, or ignores_target says that none is."""
    model, x, y = precise(bench, draw=3)
    with counted(model) as passes:
        first = explain(explainer, model, x, y)
    if not passes.forward:
        return
    same = torch.equal(first, explain(explainer, model, x, (y + 1) % bench.facts.classes))
    if type(explainer).ignores_target:
        require(same, "ignores_target is True, but classes have maps of their own")
    else:
        problem = "maps of other classes are the same; explain the class target, not the predicted one"
        require(not same, f"{problem}, or say ignores_target: ClassVar[bool] = True")


@CONTRACT.claim()
def ignores_network_is_honest(explainer: Explainer, bench: Bench) -> None:
    """Ignores_network says whether maps are the same for every network."""
    model, x, y = precise(bench, draw=4)
    same = torch.equal(explain(explainer, model, x, y), explain(explainer, bench.other().double(), x, y))
    if same:
        problem = "every network has the same maps; explain the network, or say ignores_network: ClassVar[bool] = True"
        require(type(explainer).ignores_network, problem)
    else:
        require(not type(explainer).ignores_network, "ignores_network is True, but networks have maps of their own")


@CONTRACT.claim()
def ignores_image_is_honest(explainer: Explainer, bench: Bench) -> None:
    """Ignores_image says whether every image has the same map."""
    model, x, y = precise(bench)
    target = torch.full_like(y, int(y[0]))
    same = torch.equal(*(explain(explainer, model, x[i : i + 1], target[i : i + 1]) for i in range(2)))
    if same:
        require(type(explainer).ignores_image, "every image has the same map; say ignores_image, or use the image")
    else:
        require(not type(explainer).ignores_image, "ignores_image is True, but images have maps of their own")


@CONTRACT.claim()
def other_images_work(explainer: Explainer, bench: Bench) -> None:
    """Colour images of another size are explained too."""
    facts = ImageFacts(channels=3, size=20, classes=4, mean=(0.3,) * 3, std=(0.3,) * 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attentive = type(explainer).needs_attention
        model = small_transformer(facts) if attentive else LeNet(width=4, hidden=8).build(facts).eval()
    maps = explain(explainer, model, in_colour(bench.x, 20), bench.y % 4)
    require(bool(maps.isfinite().all()), "maps of colour images are not finite")
