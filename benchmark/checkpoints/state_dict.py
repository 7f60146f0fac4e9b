"""Files of weights: read without running code from them, and put into a network only where they fit exactly."""

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
from attrobust.benchmark.models.base import ImageFacts, ModelFamily
from attrobust.naming.spec import Spec, settings_of
from attrobust.types import UsageError

State = Mapping[str, Tensor]


class MismatchError(UsageError):
    """Weights that are not those of the network: another architecture."""

    def __init__(self, message: str, state: State) -> None:
        super().__init__(message)
        self.state = state


def read_weights(path: Path) -> tuple[State, str]:
    """The weights in a file and the sha256 of the file.

    Besides a state dict, files that hold one under a usual key are read; what else they hold is left aside.

    Raises:
        UsageError: no such file, objects that only code could restore, or no weights.
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
    found = re.search(r"GLOBAL (\S+)", problem)
    if found is None:
        reason = problem.partition("\n")[0]
        return f"{path} is not a file of plain weights ({reason})"
    whole = "torch.load(FILE, weights_only=False)"
    weights = f'{whole}["state_dict"]' if b"pytorch-lightning_version" in content else "model.state_dict()"
    return (
        f"{path} holds a {found[1]}, and no code of a checkpoint is run here; "
        f"where it was made, save its weights alone: torch.save({weights}, NEW)"
    )


def _unwrapped(saved: Any, path: Path) -> State:
    if _is_state(saved):
        return saved  # type: ignore[no-any-return]
    keys = list(saved) if isinstance(saved, Mapping) else []
    found = [key for key in WRAPPERS if key in keys and _is_state(saved[key])]
    if len(found) > 1:
        raise UsageError(f"{path} holds weights under {found[0]!r} and under {found[1]!r}; save those that are meant")
    if not found:
        what = f"its keys: {', '.join(map(str, keys[:5]))}" if keys else f"it is a {type(saved).__name__}"
        raise UsageError(f"{path} holds no state dict ({what}); save one with torch.save(model.state_dict(), path)")
    return saved[found[0]]  # type: ignore[no-any-return]


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def load_weights(model: nn.Module, state: State, origin: str) -> None:
    """Put weights into a network, exactly, and the network into evaluation mode.

    Names may have a prefix in common, or be those of a dialect. Counts of batches, which no evaluation reads and old
    files lack, need not be there.

    Args:
        model: the network.
        state: the weights.
        origin: whose they are, for errors.

    Raises:
        MismatchError: another architecture; names the first weight, in the order of the network, that does not fit.
        UsageError: another number of classes, or values that are not finite.
    """
    own = model.state_dict()
    prefix, wanted = shared_prefix(own), without_prefix(own)
    found = _renamed(state, wanted)
    for name, tensor in wanted.items():
        if name not in found:
            raise MismatchError(f"{origin} lacks {name!r}, which the model has", state)
        if found[name].shape != tensor.shape:
            told = f"{name!r} has shape {_shape(found[name])}, the model needs {_shape(tensor)}"
            if _differ_in_classes(name, found[name], tensor, wanted):
                raise UsageError(
                    f"{origin} was trained for {len(found[name])} classes, the dataset has {len(tensor)}: {told}"
                )
            raise MismatchError(f"{origin}: {told}", state)
        if not found[name].isfinite().all():
            raise UsageError(f"{origin}: {name!r} has values that are not finite")
    for name in found:
        if name not in wanted:
            raise MismatchError(f"{origin} has {name!r}, which the model lacks", state)
    model.load_state_dict({f"{prefix}{name}": tensor for name, tensor in found.items()})
    model.eval()


def fitting_model(state: State, facts: ImageFacts) -> str:
    """What one types for the architecture of ours that weights fit but for the number of classes, or nothing."""
    for name in models.registry.names():
        try:
            family = models.registry.get(name)()
            if family.package:
                continue
            found = _renamed(state, _wanted(family, facts))
            family = family.suited_to({key: tuple(tensor.shape) for key, tensor in found.items()})
            wanted = _wanted(family, facts)
        except (UsageError, ValueError, TypeError, KeyError, RuntimeError):
            continue  # It does not suit the images, or is a plug-in that cannot be built unasked.
        if set(found) == set(wanted) and all(
            found[key].shape == tensor.shape or _differ_in_classes(key, found[key], tensor, wanted)
            for key, tensor in wanted.items()
        ):
            settings = {
                key: str(value) for key, value in settings_of(family).items() if value != getattr(type(family), key)
            }
            return str(Spec(name, settings))
    return ""


def _wanted(family: ModelFamily, facts: ImageFacts) -> dict[str, Tensor]:
    with torch.device("meta"):
        return without_prefix(family.build(facts).state_dict())


def _renamed(state: State, wanted: State) -> dict[str, Tensor]:
    return translated({**_counts(state, wanted), **state}, wanted)


def state_sha256(state: State) -> str:
    """sha256 (hex) of names, types, shapes and values, for weights that are no file of their own."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _counts(state: State, wanted: State) -> dict[str, Tensor]:
    """A count of batches for every normalisation layer of the weights, where the network counts."""
    if not any(name.endswith(".num_batches_tracked") for name in wanted):
        return {}
    layers = [name.removesuffix("running_mean") for name in state if name.endswith(".running_mean")]
    return {f"{layer}num_batches_tracked": torch.tensor(0) for layer in layers}


def _differ_in_classes(name: str, found: Tensor, needed: Tensor, wanted: State) -> bool:
    last_layer = list(wanted)[-1].rpartition(".")[0]
    return name.rpartition(".")[0] == last_layer and found.dim() > 0 and found.shape[1:] == needed.shape[1:]


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
