"""Networks whose outputs are not one logit for each class, made into ones whose are, or refused."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from attrobust.networks.function_mode import FunctionMode
from attrobust.storage import type_name

LOG = logging.getLogger("attrobust")
SUM = 1e-4
"""How far from 1 probabilities in float32 may add up to."""
WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
"""Modules of torch around a network that compute the same, and the attribute that holds it."""

QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
"""Packages of torch's layers whose weights are integers."""


class Logits(nn.Module):
    """Returns the logits of a network that returns them in another way.

    Args:
        network: the network.
        entry: key, position or attribute of the logits in what it returns; None where it returns them alone.
        shape: ``one`` where there is one logit z for two classes, which become -z/2 and z/2; ``flat`` where axes of
            length 1 stand behind the classes; empty for B×K.
    """

    def __init__(self, network: nn.Module, entry: str | int | None, shape: str) -> None:
        super().__init__()
        self.network = network
        self._entry, self._shape = entry, shape

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W pixels in [0, 1] to B×K logits."""
        return _shaped(_entry_of(self.network(x), self._entry), self._shape)


def with_logits(network: nn.Module, x: Tensor, classes: int) -> nn.Module:
    """The network, such that it returns one logit for each class; what is adapted is said in the log.

    A tuple, dict or dataclass is replaced by the logits in it, one logit of two classes by two whose softmax is its
    sigmoid, and a wrapper that computes in parallel or compiled by the network in it.

    Args:
        network: in evaluation mode.
        x: some images, B×C×H×W in [0, 1].
        classes: their number, K.

    Raises:
        ValueError: see ``check_weights``; it computes in less than the precision of the images; or it returns nothing
            that could be the logits, or more than one such thing.
    """
    while (kind := type(network).__name__) in WRAPPERS:
        LOG.info("%s: the network inside is used, which computes the same", kind)
        network = getattr(network, WRAPPERS[kind]).eval()
    check_weights(network)
    name, lowest = type(network).__name__, Lowest()
    with torch.no_grad(), lowest:
        output = network(x)
    entry, shape = _place(output, len(x), classes, name)
    logits = _entry_of(output, entry)
    is_low = not logits.is_floating_point() or logits.dtype.itemsize < x.dtype.itemsize
    inside = lowest.dtype
    if is_low or inside is not None:
        does = (
            f"has values in {type_name(inside)} inside"
            if inside and not is_low
            else f"returns {type_name(logits.dtype)}"
        )
        raise ValueError(
            f"{name} {does} for images in {type_name(x.dtype)}: it computes in lower precision "
            "(autocast), in which attacks drown in rounding; leave that out"
        )
    if (told := probabilities(_shaped(logits, shape))) and len(x) > 1:
        LOG.warning("warning: outputs of %s: %s", name, told)
    if entry is None and not shape:
        return network
    where = f"its {entry!r} is used" if entry is not None else "its output is used"
    how = {"one": " as two logits, -z/2 and z/2", "flat": " without its last axes"}.get(shape, "")
    LOG.warning("warning: %s returns %s; %s%s", name, _shown(output), where, how)
    return Logits(network, entry, shape).eval()


class Lowest(FunctionMode):
    """While active, notes a type of less than 32 bits that some function of torch returns.

    Attributes:
        dtype: the first such type; None where there is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """See ``FunctionMode.call``."""
        result = func(*args, **settings)
        if self.dtype is None and isinstance(result, Tensor) and _is_low(result):
            self.dtype = result.dtype
        return result


def check_weights(network: nn.Module) -> None:
    """Raise ValueError where weights have no values, too few bits, or cannot be followed by a gradient."""
    name = type(network).__name__
    modules = [*network.modules()]
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        raise ValueError(
            f"{name} is a TorchScript program, whose layers cannot be followed; give the module that it was made of"
        )
    quantised = next((part for part in modules if type(part).__module__.startswith(QUANTISED)), None)
    if quantised is not None:
        raise ValueError(
            f"{name} has a quantised {type(quantised).__name__}, which has no gradient; give the network from before"
        )
    for key, weights in network.named_parameters():
        if is_lazy(weights) or weights.is_meta:
            raise ValueError(f"{name} has no values for {key!r} yet; load its weights first")
        if _is_low(weights):
            raise ValueError(
                f"{name} has weights in {type_name(weights.dtype)}, in which attacks drown in rounding; "
                "turn it: network.float()"
            )


def _is_low(values: Tensor) -> bool:
    return values.is_floating_point() and values.dtype.itemsize < 4


def classes_of(network: nn.Module, x: Tensor) -> int:
    """The number of classes of a network, from what it returns; a single logit stands for two.

    Args:
        network: in evaluation mode.
        x: some images, B×C×H×W in [0, 1].

    Raises:
        ValueError: it cannot be told from what the network returns.
    """
    check_weights(network)
    with torch.no_grad():
        output = network(x)
    found = [output] if isinstance(output, Tensor) else [*_entries(output).values()]
    if not isinstance(output, Tensor) and isinstance(_entries(output).get("logits"), Tensor):
        found = [_entries(output)["logits"]]
    counts = {_count(item, len(x)) for item in found if isinstance(item, Tensor)} - {0}
    if len(counts) != 1:
        raise ValueError(f"{type(network).__name__} returns {_shown(output)}; say how many classes it has: classes=K")
    return counts.pop()


def probabilities(logits: Tensor) -> str:
    """What gives outputs B×K away as probabilities or their logarithms; empty where they may be logits."""
    rows = logits.detach().double()
    for what, shares in (("softmax", rows), ("log_softmax", rows.exp())):
        if shares.shape[1] > 1 and bool((shares >= 0).all() and ((shares.sum(dim=1) - 1).abs() < SUM).all()):
            return f"they look like the output of {what}: explanations are of logits, leave that layer out"
    return ""


def _count(logits: Tensor, images: int) -> int:
    """How many classes a tensor could be the logits of; 0 where it is not such a tensor."""
    if logits.shape in ((images,), (images, 1)):
        return 2
    wide = logits.dim() >= 2 and logits.shape[0] == images
    return logits.shape[1] if wide and logits.numel() == images * logits.shape[1] else 0


def _shaped(logits: Tensor, shape: str) -> Tensor:
    """Logits B×K from outputs in one of the shapes that ``Logits`` knows."""
    if shape == "one":
        z = logits.reshape(len(logits), 1)
        return torch.cat([-z / 2, z / 2], dim=1)
    return logits.flatten(1) if shape == "flat" else logits


def _place(output: Any, count: int, classes: int, name: str) -> tuple[str | int | None, str]:
    """Where the logits are in an output, and how they are shaped; raises ValueError."""
    if isinstance(output, Tensor):
        shape = _shape(output, count, classes)
        if shape is None:
            hint = "a single logit fits two classes" if output.numel() == count else "one logit for each is wanted"
            raise ValueError(f"{name} returns {_shown(output)} for {count} images of {classes} classes; {hint}")
        return None, shape
    found = {key: _shape(value, count, classes) for key, value in _entries(output).items() if isinstance(value, Tensor)}
    found = {key: shape for key, shape in found.items() if shape is not None}
    if "logits" in found:
        found = {"logits": found["logits"]}
    if len(found) != 1:
        problem = f"{len(found)} of them could be" if found else "none of it is"
        raise ValueError(
            f"{name} returns {_shown(output)}; {problem} the logits of {classes} classes: wrap it in a module that "
            "returns these alone"
        )
    ((key, shape),) = found.items()
    return key, shape or ""


def _shape(logits: Tensor, count: int, classes: int) -> str | None:
    if logits.shape == (count, classes):
        return ""
    if classes == 2 and logits.shape in ((count,), (count, 1)):
        return "one"
    if logits.dim() > 2 and logits.shape[:2] == (count, classes) and logits.numel() == count * classes:
        return "flat"
    return None


def _entries(output: Any) -> Mapping[str | int, Any]:
    if isinstance(output, Mapping):
        return output
    if dataclasses.is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    if isinstance(output, (tuple, list)):
        names: Any = getattr(output, "_fields", range(len(output)))
        return dict(zip(names, output, strict=True))
    return {"logits": output.logits} if hasattr(output, "logits") else {}


def _entry_of(output: Any, entry: str | int | None) -> Any:
    return output if entry is None else _entries(output)[entry]


def _shown(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {'×'.join(map(str, output.shape)) or 'of a single number'}"
    entries = ", ".join(
        f"{key} {'×'.join(map(str, value.shape))}"
        for key, value in _entries(output).items()
        if isinstance(value, Tensor)
    )
    return f"a {type(output).__name__} ({entries or 'no tensors'})"
