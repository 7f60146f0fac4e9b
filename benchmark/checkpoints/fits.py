"""Finds a network's weights in state dicts of other codes, whatever stands before their names or beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attrobust.benchmark.checkpoints.dialects import MEANS, STDS, is_beside, translations
from attrobust.benchmark.checkpoints.holders import AVERAGED, State
from attrobust.benchmark.models.normalization import Constants
from attrobust.storage import not_in_memory
from attrobust.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Weights that have all the names of a network.

    Attributes:
        place: key of the file and prefix of the names, joined by a dot; empty where there is neither.
        weights: by the network's names without their common prefix.
        names: of these weights in the file.
        rest: what else the same state dict has, by its names in the file.
    """

    place: str
    weights: dict[str, Tensor]
    names: frozenset[str]
    rest: dict[str, Tensor]

    def has_shapes_of(self, needed: State) -> bool:
        """Whether every weight has the network's shape."""
        return all(self.weights[name].shape == tensor.shape for name, tensor in needed.items())

    def equals(self, other: Fit) -> bool:
        """Whether the weights are the same numbers."""
        pairs = [(tensor, other.weights[name]) for name, tensor in self.weights.items()]
        return all(
            one.dtype == two.dtype and are_real(one) and are_real(two) and torch.equal(one, two) for one, two in pairs
        )

    def normalization(self, channels: int) -> dict[tuple[str, str], Constants]:
        """Mean and std among the rest by their names; one number stands for all channels."""
        found = {}
        for name, mean in self.rest.items():
            parent, dot, last = name.rpartition(".")
            std_name = f"{parent}{dot}{STDS[MEANS.index(last)]}" if last in MEANS else ""
            std = self.rest.get(std_name)
            if std is None or not (are_real(mean) and are_real(std)):
                continue
            if mean.numel() in (1, channels) and std.numel() in (1, channels):
                found[name, std_name] = (_numbers(mean, channels), _numbers(std, channels))
        return found

    def unexplained(self, channels: int, unused: Sequence[str] = ()) -> list[str]:
        """Names of the rest that may belong to another network.

        Args:
            channels: of an image.
            unused: parts of the names of what the network does not use when it is evaluated.
        """
        constants = {name for pair in self.normalization(channels) for name in pair}
        return [
            name
            for name, tensor in self.rest.items()
            if name not in constants and not is_beside(name, tensor.numel()) and not set(name.split(".")) & set(unused)
        ]


def are_real(tensor: Tensor) -> bool:
    """Whether a tensor is real numbers all of which are in memory, and none of them many times by a stride of 0."""
    if not_in_memory(tensor) or tensor.is_complex():
        return False
    return tensor.numel() * tensor.itemsize <= tensor.untyped_storage().nbytes()


def _numbers(tensor: Tensor, channels: int) -> tuple[float, ...]:
    numbers = tuple(tensor.flatten().double().tolist())
    return numbers * channels if len(numbers) == 1 else numbers


def fits(states: Mapping[str, State], needed: State) -> list[Fit]:
    """All that state dicts have of a network's names.

    Args:
        states: by the keys that lead to them.
        needed: the state dict of the network, under names without their common prefix.
    """
    return [fit for place, state in states.items() for fit in _fits_in(place, state, needed)]


def chosen(states: Mapping[str, State], needed: State, origin: str) -> Fit | None:
    """The one fit of state dicts; None where there is none.

    Raises:
        UsageError: several that differ, or averaged weights beside it that do not fit.
    """
    found = fits(states, needed)
    found = [fit for fit in found if fit.has_shapes_of(needed)] or found
    if not found:
        return None
    first = found[0]
    other = next((fit for fit in found[1:] if not fit.equals(first)), None)
    if other is not None:
        keys = " or ".join(f"key={fit.place}" for fit in (first, other) if fit.place)
        raise UsageError(
            f"{origin} holds weights under {_shown(first.place)} and under {_shown(other.place)}; "
            f"choose by {keys}: NAME=FILE:MODEL:key={other.place or first.place}"
        )
    for place in states:
        is_averaged = any(AVERAGED.search(part.lower()) for part in place.split("."))
        if is_averaged and not any(fit.place.startswith(place) for fit in found):
            raise UsageError(
                f"{origin} holds weights under {_shown(first.place)} and averaged ones under {place!r} that do not fit "
                f"this network; to take the former: NAME=FILE:MODEL:key={first.place}"
            )
    copies = frozenset(name for fit in found for name in fit.names)
    return replace(first, rest={name: tensor for name, tensor in first.rest.items() if name not in copies})


def _shown(place: str) -> str:
    return repr(place) if place else "no key"


def _fits_in(place: str, state: State, needed: State) -> Iterator[Fit]:
    """The fits in one state dict, by the first dialect that has any."""
    first = next(iter(needed), "")
    for renamed in translations(state, needed):
        prefixes = [here[: -len(first)] for here in renamed.values() if here == first or here.endswith(f".{first}")]
        found = [fit for prefix in dict.fromkeys(prefixes) if (fit := _fit(place, state, needed, renamed, prefix))]
        if found:
            yield from found
            return


def _fit(place: str, state: State, needed: State, renamed: Mapping[str, str], prefix: str) -> Fit | None:
    names = {renamed[name].removeprefix(prefix): name for name in state if renamed[name].startswith(prefix)}
    weights = {name: state[names[name]] for name in needed if name in names}
    weights |= counts(weights, needed)
    if weights.keys() != needed.keys():
        return None
    used = frozenset(names[name] for name in weights if name in names)
    return Fit(
        place=".".join(filter(None, (place, prefix.removesuffix(".")))),
        weights=weights,
        names=used,
        rest={name: tensor for name, tensor in state.items() if name not in used},
    )


def counts(state: State, needed: State) -> dict[str, Tensor]:
    """``num_batches_tracked`` of 0 where a network has such counts and weights do not, which old files lack."""
    names = (name for name in needed if name.endswith("num_batches_tracked") and name not in state)
    return {name: torch.tensor(0) for name in names if f"{name[:-19]}running_mean" in state}
