"""The contract of architectures."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import torch
from torch import Tensor, nn

from attrobust.benchmark.contract.bench import Bench, in_colour
from attrobust.benchmark.contract.claims import Contract, UndecidedError, require
from attrobust.benchmark.contract.traces import no_global_randomness
from attrobust.benchmark.models.base import ModelFamily
from attrobust.networks.copying import independent_copy
from attrobust.networks.smoothed import PIECEWISE_LINEAR
from attrobust.types import ImageFacts

DRAWS = 3
"""Of weights, until one is found with which logits depend on the image."""
STIRRED = 0.1
"""Standard deviation of what is added to weights that are all alike, times the root of how many an output has."""
CONSTANT = "the logits are the same for all images"
NO_NORMALIZATION = (
    "logits are not those of images normalised by facts.mean and facts.std; "
    "add Normalize(facts.mean, facts.std) in front"
)
CONTRACT: Contract[ModelFamily] = Contract("model", ModelFamily, "network")


def built(family: ModelFamily, facts: ImageFacts, seed: int = 0) -> nn.Module:
    """A freshly initialised network, evaluating."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return family.build(facts).eval()


def stirred(network: nn.Module) -> nn.Module:
    """The network with a little noise, always the same, on all parameters whose values are all equal.

    A head whose weights begin at zero gives the same logits for all images, whatever comes before it.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
            if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(STIRRED * noise / max(1.0, parameter[0].numel() if parameter.ndim else 1) ** 0.5)
    return network


def spread_of(logits: Tensor) -> float:
    """The largest difference between the logits B×K of two images."""
    return float((logits.amax(dim=0) - logits.amin(dim=0)).max())


def fitting(family: ModelFamily, bench: Bench) -> tuple[ImageFacts, Tensor]:
    """Facts and images that the architecture takes: those of the bench, or colour images of a common size."""
    if not bench.full:
        return bench.facts, bench.x
    for facts in (bench.facts, *(_colour(size) for size in (32, 64, 224))):
        with suppress(ValueError):
            built(family, facts)
            return facts, bench.x if facts is bench.facts else in_colour(bench.x, facts.size)
    built(family, bench.facts)
    return bench.facts, bench.x


def _colour(size: int) -> ImageFacts:
    return ImageFacts(channels=3, size=size, classes=10, mean=(0.3, 0.4, 0.5), std=(0.2, 0.3, 0.4))


@CONTRACT.claim(short=True)
def logits_fit(family: ModelFamily, bench: Bench) -> None:
    """There is a finite logit for every class of every real image."""
    facts, x = fitting(family, bench)
    for classes in (facts.classes, facts.classes + 3):
        require_logits(built(family, dataclasses.replace(facts, classes=classes)), x, classes)


def require_logits(network: nn.Module, x: Tensor, classes: int) -> None:
    """Raise ClaimError unless a network gives finite logits B×K for images."""
    given = x.clone()
    with torch.no_grad():
        logits = network(given)
    problem = f"the network {type(network).__name__} changes the images it is given; compute out of place"
    require(torch.equal(given, x), problem)
    require(isinstance(logits, Tensor), f"the network returns {type(logits).__name__}, not a tensor of logits")
    wanted = (len(x), classes)
    require(
        logits.shape == wanted,
        f"the network returns {tuple(logits.shape)} for {len(x)} images of {classes} classes, not {wanted}",
    )
    require(bool(logits.isfinite().all()), "a logit of a real image is not finite")


@CONTRACT.claim(short=True)
def logits_are_no_probabilities(family: ModelFamily, bench: Bench) -> None:
    """The network returns logits, not probabilities."""
    facts, x = fitting(family, bench)
    with torch.no_grad():
        logits = built(family, facts)(x).double()
    sums = torch.stack([logits.sum(dim=1), logits.exp().sum(dim=1)])
    unit = bool(((sums - 1).abs() < 1e-4).all(dim=1).any())
    require(not unit, "its outputs are probabilities or their logarithms; leave softmax out")


@CONTRACT.claim(short=True)
def logits_are_their_images(family: ModelFamily, bench: Bench) -> None:
    """An image's logits do not depend on its batch, and two passes give the same."""
    facts, x = fitting(family, bench)
    network = stirred(built(family, facts)).double()
    x = x.double()
    with torch.no_grad(), no_global_randomness():
        together, again = network(x), network(x)
        alone = torch.cat([network(image[None]) for image in x])
        require(torch.equal(together, again), "two passes of the same images give other logits in evaluation mode")
    near = bool((together - alone).abs().max() <= 1e-7 * together.abs().max())
    require(near, "an image's logits depend on the images beside it in evaluation mode")


@CONTRACT.claim(short=True)
def normalises_inside(family: ModelFamily, bench: Bench) -> None:
    """The network normalises inside, with the mean and std that it is told."""
    facts, x = fitting(family, bench)
    if family.normalize != "data":
        return
    plain = dataclasses.replace(facts, mean=(0.0,) * facts.channels, std=(1.0,) * facts.channels)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (facts.mean, facts.std))
    x = x.double()
    for seed in range(DRAWS):
        networks = (stirred(built(family, of, seed).double()) for of in (facts, plain))
        with torch.no_grad():
            inside, outside = next(networks)(x), next(networks)((x - mean) / std)
        # Where logits hardly depend on the image, they do not depend on its normalisation either.
        spread = max(spread_of(inside), spread_of(outside))
        # float32 constants inside
        near = bool((inside - outside).abs().max() <= 1e-4 * spread)
        require(near or spread == 0, NO_NORMALIZATION)
        if spread:
            return
    raise UndecidedError(f"{CONSTANT}, whatever the weights")


@CONTRACT.claim()
def gradients_arrive(family: ModelFamily, bench: Bench) -> None:
    """Gradients reach the image and every weight."""
    facts, x = fitting(family, bench)
    varies = False
    for seed in range(DRAWS):
        network = stirred(built(family, facts, seed))
        given = x.clone().requires_grad_()
        logits = network(given)
        require(logits.requires_grad, "logits have no graph; leave out no_grad and detach")
        (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed)).to(logits)).sum().backward()
        varies |= spread_of(logits.detach()) > 0
        if given.grad is not None and given.grad.any():
            for name, parameter in network.named_parameters():
                reached = not parameter.requires_grad or parameter.grad is not None
                require(reached, f"no gradient reaches {name}; remove it")
            return
    require(not varies, "no gradient reaches the image, which the logits depend on; leave out detach and rounding")
    require(varies, f"no gradient reaches the image, since {CONSTANT}, whatever the weights")


@CONTRACT.claim(short=True)
def networks_are_new(family: ModelFamily, bench: Bench) -> None:
    """Every network is a new one, which shares no weights with another."""
    facts, _ = fitting(family, bench)
    # The author's function itself: of what it returns, a plug-in's networks are copied.
    first, again = (family.network(facts) for _ in range(2))
    shared = {p.data_ptr() for p in first.parameters()} & {p.data_ptr() for p in again.parameters()}
    require(not shared, "two networks share their weights; build every one anew")


@CONTRACT.claim()
def seed_decides_weights(family: ModelFamily, bench: Bench) -> None:
    """The seed of torch decides the weights."""
    facts, _ = fitting(family, bench)
    state, again, other = (built(family, facts, seed).state_dict() for seed in (0, 0, 1))
    same = all(torch.equal(value, again[name]) for name, value in state.items())
    require(same, "the same seed of torch gives other weights; draw them with torch")
    differ = any(not torch.equal(value, other[name]) for name, value in state.items())
    require(differ, "every seed gives the same weights; initialise them at random")


@CONTRACT.claim()
def state_is_complete(family: ModelFamily, bench: Bench) -> None:
    """Weights and copies hold all of it."""
    facts, x = fitting(family, bench)
    first, other = stirred(built(family, facts)), built(family, facts, seed=1)
    other.load_state_dict(first.state_dict())
    with torch.no_grad():
        require(
            torch.equal(first(x), other(x)), "a network with the same state dict gives other logits; register buffers"
        )
        require(torch.equal(first(x), independent_copy(first)(x)), "a copy of the network gives other logits")


@CONTRACT.claim()
def activations_are_modules(family: ModelFamily, bench: Bench) -> None:
    """Nothing is computed in place by activations, and where softplus can replace ReLU, it does everywhere."""
    facts, x = fitting(family, bench)
    inside = [name for name, module in built(family, facts).named_modules() if getattr(module, "inplace", False)]
    require(not inside, f"{inside and inside[0]} works in place; leave inplace=True out")
    try:
        smooth = built(dataclasses.replace(family, activation="softplus"), facts)
    except ValueError:  # of activations that softplus does not stand for
        return
    left = [name for name, module in smooth.named_modules() if isinstance(module, PIECEWISE_LINEAR)]
    require(not left, f"activation=softplus leaves {left and left[0]} as it is; use nn.ReLU")
    with torch.no_grad():
        require(bool(smooth(x).isfinite().all()), "with activation=softplus logits are not finite")


@CONTRACT.claim()
def it_trains(family: ModelFamily, bench: Bench) -> None:
    """It trains: a step with batch statistics lowers the loss."""
    facts, x = fitting(family, bench)
    network, y = built(family, facts).train(), bench.y
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    torch.manual_seed(0)
    before = nn.functional.cross_entropy(network(x), y)
    before.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    torch.manual_seed(0)
    after = nn.functional.cross_entropy(network(x), y)
    require(bool(after < before), f"a step of gradient descent takes the loss from {before:.5g} to {after:.5g}")
