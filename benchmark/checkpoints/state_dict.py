"""Weight files: read without running code from them, and loaded into a network only where they fit exactly."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.dialects import WRAPPERS, shared_prefix, translated, without_prefix
from attrobust.benchmark.models.base import ModelFamily
from attrobust.naming.spec import Spec, settings_of
from attrobust.types import ImageFacts, UsageError

State = Mapping[str, Tensor]


class MismatchError(UsageError):
    """The weights are those of another architecture."""

    def __init__(self, message: str, state: State) -> None:
        super().__init__(message)
        self.state = state


def read_weights(path: Path) -> tuple[State, str]:
    """The weights in a file and the sha256 of the file.

    The file holds a state dict, or one under a usual key (``WRAPPERS``); anything else in it is ignored.

    Raises:
        UsageError: no such file, pickled objects other than tensors, or no weights.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"checkpoint file {path} does not exist") from None
    except OSError as error:
        raise UsageError(f"checkpoint file {path} cannot be read: {error.strerror}") from error
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(_refused(path, content, str(error))) from error
    return _unwrapped(saved, path), hashlib.sha256(content).hexdigest()


def _refused(path: Path, content: bytes, problem: str) -> str:
    match = re.search(r"GLOBAL (\S+)", problem)
    if match is None:
        reason = problem.partition("\n")[0]
        return f"{path} is not a file of plain weights ({reason})"
    whole = "torch.load(FILE, weights_only=False)"
    weights = f'{whole}["state_dict"]' if b"pytorch-lightning_version" in content else "model.state_dict()"
    return (
        f"{path} holds a {match[1]}, and no code of a checkpoint is run here; "
        f"where it was made, save its weights alone: torch.save({weights}, NEW)"
    )


def _unwrapped(saved: Any, path: Path) -> State:
    if _is_state(saved):
        return saved  # type: ignore[no-any-return]
    keys = list(saved) if isinstance(saved, Mapping) else []
    holders = [key for key in WRAPPERS if key in keys and _is_state(saved[key])]
    if len(holders) > 1:
        both = f"under {holders[0]!r} and under {holders[1]!r}"
        raise UsageError(f"{path} holds weights {both}; save those that are meant")
    if not holders:
        what = f"its keys: {', '.join(map(str, keys[:5]))}" if keys else f"it is a {type(saved).__name__}"
        raise UsageError(f"{path} holds no state dict ({what}); save one with torch.save(model.state_dict(), path)")
    return saved[holders[0]]  # type: ignore[no-any-return]


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def load_weights(model: nn.Module, state: State, origin: str) -> None:
    """Load weights that fit a network exactly, and set it to evaluation mode.

    Names may have a common prefix, or be those of a dialect. ``num_batches_tracked``, which evaluation does not use and
    old files lack, may be missing.

    Args:
        model: the network.
        state: the weights.
        origin: name of the source, for errors.

    Raises:
        MismatchError: another architecture; names the first weight, in the order of the network, that does not fit.
        UsageError: another number of classes, or values that are not finite.
    """
    own = model.state_dict()
    prefix, needed = shared_prefix(own), without_prefix(own)
    given = _renamed(state, needed)
    for name, tensor in needed.items():
        if name not in given:
            raise MismatchError(f"{origin} lacks {name!r}, which the model has", state)
        if given[name].shape != tensor.shape:
            shapes = f"{name!r} has shape {_shape(given[name])}, the model needs {_shape(tensor)}"
            if _differ_in_classes(name, given[name], tensor, needed):
                raise UsageError(
                    f"{origin} was trained for {len(given[name])} classes, the dataset has {len(tensor)}: {shapes}"
                )
            raise MismatchError(f"{origin}: {shapes}", state)
        if not given[name].isfinite().all():
            raise UsageError(f"{origin}: {name!r} has values that are not finite")
    for name in given:
        if name not in needed:
            raise MismatchError(f"{origin} has {name!r}, which the model lacks", state)
    model.load_state_dict({f"{prefix}{name}": tensor for name, tensor in given.items()})
    model.eval()


def fitting_model(state: State, facts: ImageFacts) -> str:
    """Spec of the registered architecture that fits weights, up to the number of classes; empty where none does."""
    for name in models.registry.names():
        try:
            family = models.registry.get(name)()
            if family.package:
                continue
            given = _renamed(state, _needed(family, facts))
            family = family.suited_to({key: tuple(tensor.shape) for key, tensor in given.items()})
            needed = _needed(family, facts)
        except (UsageError, ValueError, TypeError, KeyError, RuntimeError):
            continue  # It does not fit the images, or is a plug-in that cannot be built with its defaults.
        if set(given) == set(needed) and all(
            given[key].shape == tensor.shape or _differ_in_classes(key, given[key], tensor, needed)
            for key, tensor in needed.items()
        ):
            settings = {
                key: str(value) for key, value in settings_of(family).items() if value != getattr(type(family), key)
            }
            return str(Spec(name, settings))
    return ""


def _needed(family: ModelFamily, facts: ImageFacts) -> dict[str, Tensor]:
    """The state dict of a new network, without values and without its prefix."""
    with torch.device("meta"):
        return without_prefix(family.build(facts).state_dict())


def _renamed(state: State, needed: State) -> dict[str, Tensor]:
    return translated({**_counts(state, needed), **state}, needed)


def state_sha256(state: State) -> str:
    """sha256 (hex) of names, dtypes, shapes and values, for weights that do not come from a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _counts(state: State, needed: State) -> dict[str, Tensor]:
    """``num_batches_tracked`` of 0 for every normalisation layer of the weights, where the network has such counts."""
    if not any(name.endswith(".num_batches_tracked") for name in needed):
        return {}
    layers = [name.removesuffix("running_mean") for name in state if name.endswith(".running_mean")]
    return {f"{layer}num_batches_tracked": torch.tensor(0) for layer in layers}


def _differ_in_classes(name: str, given: Tensor, own: Tensor, needed: State) -> bool:
    """Whether a weight is of the last layer and differs from the network's own only in the number of outputs."""
    last_layer = list(needed)[-1].rpartition(".")[0]
    return name.rpartition(".")[0] == last_layer and given.dim() > 0 and given.shape[1:] == own.shape[1:]


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
