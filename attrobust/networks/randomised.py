"""Copies of a network whose layers have new random parameters, from the logits down to the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized

from attrobust.maps.seeds import derive_seed
from attrobust.networks.copying import independent_copy
from attrobust.networks.passes import standing_for
from attrobust.process import seeded

Order = Literal["cascading", "independent"]
"""Whether layers stay random once they are, or one layer is random at a time."""


_meant: ContextVar[int] = ContextVar("layers of the network that passes are counted for", default=0)


@contextmanager
def layers_meant(count: int) -> Iterator[None]:
    """Inside the block the layers of any network stand for ``count`` layers, where only passes are of interest."""
    token = _meant.set(count)
    try:
        yield
    finally:
        _meant.reset(token)


@contextmanager
def for_layer(place: int, found: int) -> Iterator[None]:
    """For passes that are made for each layer of a network: together they count as those of ``layers_meant``.

    Args:
        place: of the layer, from 0. The passes of the first one count for the difference in number too.
        found: how many layers the network has.
    """
    more = _meant.get() - found if _meant.get() and place == 0 else 0
    with standing_for(1 + more, 1):
        yield


def layers(model: nn.Module, image: Tensor) -> list[str]:
    """Paths of the layers that can be randomised, that nearest to the logits first.

    A layer is a module with parameters of its own, or one that normalises by statistics of training. Layers are in the
    order in which they are called. One that is not called by itself, such as the output of multi-head attention, is
    where the module is called that contains it; parameters of the network itself, such as embeddings of positions, come
    last.

    Args:
        model: evaluating; left alone.
        image: 1×C×H×W, which is sent through a copy to find the order.
    """
    network, calls = independent_copy(model), {"": 0}

    def note(path: str) -> None:
        calls.setdefault(path, len(calls))

    for path, module in network.named_modules():
        module.register_forward_pre_hook(lambda _module, _inputs, path=path: note(path))
    with torch.no_grad():
        # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
        network.forward(image)
    places = {path: _place(path, calls) for path, module in network.named_modules() if _is_layer(path, module)}
    # Of layers in one place those that were defined first come last.
    return sorted(places, key=places.__getitem__)[::-1]


def randomised(model: nn.Module, image: Tensor, seed: int, order: Order = "cascading") -> Iterator[nn.Module]:
    """Copies of a network, one after another layer is randomised, from the logits down to the image.

    A layer is given the same parameters in either order: those that its ``reset_parameters`` draws, as a new layer has
    them, which for batch normalisation are weights of 1, shifts of 0 and statistics of mean 0 and variance 1. So the
    last copy of a cascade is a network as it is before training. Parameters that ``reset_parameters`` leaves as they
    are, or that have none, are drawn from ``N(0, r²)``, r² the mean square of their values. Numbers are drawn on the
    CPU, from the seed and the layer's path.

    Args:
        model: evaluating; left alone.
        image: see ``layers``.
        seed: of the evaluation.
        order: see ``Order``.
    """
    device = image.device
    network = independent_copy(model).cpu()
    for path in layers(model, image):
        if order == "independent":
            network = independent_copy(model).cpu()
        with seeded(derive_seed("randomised layer", seed, path)), torch.no_grad():
            randomise(network.get_submodule(path))
        yield independent_copy(network).to(device)


def randomise(layer: nn.Module) -> None:
    """Draw new parameters of a layer in place, without those of modules inside it, from torch's random state."""
    parameters = _own(layer)
    before = [parameter.detach().clone() for parameter in parameters]
    # A parameter that is still NaN afterwards was not drawn.
    for parameter in parameters:
        parameter.fill_(torch.nan)
    reset = getattr(layer, "reset_parameters", None)
    if callable(reset):
        reset()
    for parameter, known in zip(parameters, before, strict=True):
        if parameter.isnan().any():
            draws = torch.randn(known.shape, dtype=torch.float64)
            parameter.copy_(draws * known.double().square().mean().sqrt())


def _own(layer: nn.Module) -> list[nn.Parameter]:
    """Parameters of a layer itself; those behind a parametrised weight are the layer's own."""
    found = list(layer.parameters(recurse=False))
    return [*found, *layer.parametrizations.parameters()] if is_parametrized(layer) else found  # type: ignore[union-attr]


def _is_layer(path: str, module: nn.Module) -> bool:
    normalises = isinstance(module, _NormBase) and module.track_running_stats
    return "parametrizations" not in path.split(".") and (normalises or bool(_own(module)))


def _place(path: str, calls: dict[str, int]) -> int:
    while path not in calls:
        path = path.rpartition(".")[0]
    return calls[path]
