"""Weights loaded into a network, only where they fit exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.dialects import shared_prefix, translations, without_prefix
from attrobust.benchmark.checkpoints.fits import Fit, chosen, fits
from attrobust.benchmark.checkpoints.holders import State
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.normalization import Constants, alike, describe, text_of
from attrobust.naming.spec import Spec, settings_of
from attrobust.networks.smoothed import input_mean, input_scale
from attrobust.storage import not_in_memory, type_name
from attrobust.types import ImageFacts, UsageError

MOST = 50
"""State dicts of a file up to which it is looked for an architecture that one of them fits."""


class MismatchError(UsageError):
    """The weights are those of another architecture."""

    def __init__(self, message: str, states: Mapping[str, State]) -> None:
        super().__init__(message)
        self.states = states


def load_weights(model: nn.Module, state: State, origin: str) -> None:
    """Load one state dict into a network, see ``load_states``."""
    load_states(model, {"": state}, origin)


def load_states(model: nn.Module, states: Mapping[str, State], origin: str, unused: Sequence[str] = ()) -> None:
    """Load the weights that fit a network exactly, and set it to evaluation mode.

    Names may have a prefix, be those of a dialect, or have parts of wrappers in them. ``num_batches_tracked``, which
    evaluation does not use and old files lack, may be missing. What is beside the weights is left out where it is known
    that a network is evaluated without it, and a normalisation where it is the network's own.

    Args:
        model: the network.
        states: weights, by the keys of a file that lead to them.
        origin: name of the source, for errors.
        unused: see ``Fit.unexplained``.

    Raises:
        MismatchError: another architecture; names the first weight, in the order of the network, that does not fit.
        UsageError: several weights that fit, another number of classes or normalisation, or values that are no
            finite numbers of float32.
    """
    own = model.state_dict()
    prefix, needed = shared_prefix(own), without_prefix(own)
    fit = chosen(states, needed, origin)
    if fit is None:
        raise MismatchError(f"{origin} {_first_missing(states, needed)}", states)
    _check_rest(fit, model, states, origin, unused)
    loaded = {}
    for name, tensor in needed.items():
        given = fit.weights[name]
        if given.shape != tensor.shape:
            shapes = f"{name!r} has shape {_shape(given)}, the model needs {_shape(tensor)}"
            if _differ_in_classes(name, given, tensor, needed):
                raise UsageError(f"{origin} {other_classes(len(given), len(tensor))}: {shapes}")
            raise MismatchError(f"{origin}: {shapes}{_hint(name)}", states)
        loaded[f"{prefix}{name}"] = _numbers(given, tensor, f"{origin}: {name!r}")
    model.load_state_dict(loaded)
    model.eval()


def other_classes(trained: int, here: int) -> str:
    """What is said of weights for another number of classes than the dataset has."""
    some = " (imagefolder:classes=FILE says which of them a folder has)" if trained > here else ""
    return f"was trained for {trained} classes, the dataset has {here}{some}"


def _numbers(given: Tensor, own: Tensor, what: str) -> Tensor:
    """A weight in the type of the network's own; raises UsageError where its numbers would become others."""
    if given.is_complex() and not own.is_complex():
        raise UsageError(f"{what} holds {type_name(given.dtype)}, and the network has real numbers there")
    if own.is_floating_point() and (given.is_quantized or not given.is_floating_point()):
        raise UsageError(
            f"{what} holds {type_name(given.dtype)}, which is no floating-point number: quantised "
            "weights have a scale beside them; save the weights of the network before it was quantised"
        )
    if problem := not_in_memory(given):
        raise UsageError(f"{what} is {problem}, without all of its values; save tensor.to_dense() of it, on the CPU")
    if not given.to(torch.float64).isfinite().all():
        raise UsageError(f"{what} has values that are not finite")
    converted = given.to(own.dtype)
    if not converted.isfinite().all():
        raise UsageError(f"{what} has values beyond the largest number of {type_name(own.dtype)}")
    if not own.is_floating_point() and not torch.equal(converted.to(given.dtype), given):
        raise UsageError(f"{what} has values that are no {type_name(own.dtype)}, of which the network has them")
    return converted


def _check_rest(fit: Fit, model: nn.Module, states: Mapping[str, State], origin: str, unused: Sequence[str]) -> None:
    """Raise UsageError where what is beside the weights would change what the network computes."""
    constants = (input_mean(model), input_scale(model))
    layers = [layer for layer in constants if isinstance(layer, Tensor)]
    channels = layers[0].numel() if layers else 1
    own: Constants = (tuple(layers[0].flatten().tolist()), tuple(layers[1].flatten().tolist())) if layers else ((), ())
    for (name, _), theirs in fit.normalization(channels).items():
        if layers and not alike(own, theirs):
            raise UsageError(
                f"{origin} has {name!r}: it normalises with {describe(*theirs)}, and the network here with "
                f"{describe(*own)}; set normalize={text_of(*theirs)}"
            )
    if left := fit.unexplained(channels, unused):
        hint = f" (key={fit.place} takes the network's alone)" if fit.place else ""
        raise MismatchError(f"{origin} has {left[0]!r}, which the model lacks{hint}", states)


def _first_missing(states: Mapping[str, State], needed: State) -> str:
    """What the largest of several state dicts lacks of a network."""
    state = max(states.values(), key=len)
    plain = without_prefix(state)
    names = max(
        (set(renamed.values()) for renamed in translations(plain, needed)), key=lambda have: len(have & needed.keys())
    )
    missing = next((name for name in needed if name not in names and not name.endswith("num_batches_tracked")), "")
    if not missing:
        return "lacks statistics of a normalisation layer"
    return f"begins with {next(iter(plain), '')!r} and lacks {missing!r}, which the model has"


def _hint(name: str) -> str:
    """What a shape that does not fit says of the images; empty for most names."""
    return " (weights for images of another size: set --image-size)" if "pos_embed" in name else ""


def fitting_model(states: Mapping[str, State], facts: ImageFacts) -> str:
    """Spec of the registered architecture that fits weights, up to the number of classes; empty where none does.

    So it is for more state dicts than ``MOST``, each of which would be held against each architecture.
    """
    if len(states) > MOST:
        return ""
    for name in models.registry.names():
        try:
            family = models.registry.get(name)()
            if family.package:
                continue
            for fit in fits(states, _needed(family, facts)):
                suited = family.suited_to({key: tuple(tensor.shape) for key, tensor in fit.weights.items()})
                if _fits_up_to_classes(fit, _needed(suited, facts), facts):
                    typed = {
                        key: str(value)
                        for key, value in settings_of(suited).items()
                        if value != getattr(type(suited), key)
                    }
                    return str(Spec(name, typed))
        except Exception:  # It does not fit weights or images, or is a plug-in that cannot be built with its defaults.
            continue
    return ""


def _fits_up_to_classes(fit: Fit, needed: State, facts: ImageFacts) -> bool:
    return (
        fit.weights.keys() == needed.keys()
        and not fit.unexplained(facts.channels)
        and all(
            fit.weights[key].shape == tensor.shape or _differ_in_classes(key, fit.weights[key], tensor, needed)
            for key, tensor in needed.items()
        )
    )


def _needed(family: ModelFamily, facts: ImageFacts) -> dict[str, Tensor]:
    """The state dict of a new network, without values and without its prefix."""
    with torch.device("meta"):
        return without_prefix(family.build(facts).state_dict())


def state_sha256(state: State) -> str:
    """sha256 (hex) of names, dtypes, shapes and values, for weights that do not come from a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _differ_in_classes(name: str, given: Tensor, own: Tensor, needed: State) -> bool:
    """Whether a weight is of the last layer and differs from the network's own only in the number of outputs."""
    last_layer = list(needed)[-1].rpartition(".")[0]
    return name.rpartition(".")[0] == last_layer and given.dim() > 0 and given.shape[1:] == own.shape[1:]


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
