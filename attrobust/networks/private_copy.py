"""Private copies of a network, on which hooks may be set and activations replaced.

Some of Captum's explainers set hooks on activation modules. Hooks see modules only, and only one call of each: a
functional ReLU is ignored, and a module used twice is an error or gives wrong maps. So the explainers work on a copy of
the network, made for one call on one thread, that shares all parameters and buffers and has one activation module for
each call. Where the model's own structure has that already it is copied; otherwise torch.fx rewrites it. The copy is
made anew at every call. Whether it computes the same is tried then too, but see ``findings`` and ``known``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from attrobust.networks.findings import remembered
from attrobust.networks.function_mode import FunctionMode
from attrobust.networks.known import is_known
from attrobust.networks.probe import check_same, check_same_once, probe_for
from attrobust.networks.reused import Called
from attrobust.networks.smooth_calls import SmoothedFunctions
from attrobust.networks.smoothed import (
    OPERATIONS,
    PIECEWISE_LINEAR,
    SMOOTH,
    forward_hooks,
    is_relu,
    make_out_of_place,
    replace_modules,
    shared_copy,
)
from attrobust.networks.spelled import MODULES, RELU, max_pool
from attrobust.networks.tracing import traced

POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
CALLED_ONCE = (*PIECEWISE_LINEAR, *SMOOTH, *POOLS)
"""Modules that explainers have special rules for; each call needs its own module."""

_MODULES: dict[Callable[..., Any], Callable[..., nn.Module]] = {
    **dict.fromkeys(RELU, lambda inplace=False: nn.ReLU()),  # noqa: ARG005
    **dict.fromkeys((torch.sigmoid, Tensor.sigmoid, functional.sigmoid), nn.Sigmoid),
    **dict.fromkeys((torch.tanh, Tensor.tanh, functional.tanh), nn.Tanh),
    functional.softplus: nn.Softplus,
    functional.max_pool2d: max_pool,
}
"""Functions, and the constructor of the module that computes the same."""

_OTHERS = {
    *MODULES,
    *(functional.gelu, functional.silu, functional.elu, functional.selu, functional.celu, functional.mish),
    *(functional.softsign, torch.clamp_max, Tensor.clamp_max, torch.fmax, Tensor.maximum, Tensor.where),
    *(Tensor.abs, torch.abs, torch.maximum, torch.minimum, torch.where, torch.max_pool1d, torch.max_pool3d),
}
"""Nonlinear functions; those that are not in ``_MODULES`` are not rewritten to modules."""
_FUNCTION, _AGAIN = "attrobust_function", "attrobust_again"
"""What the names of modules begin with that stand for functions, and for further calls of a module."""


class Network(nn.Module):
    """The root module of a private copy of a network.

    Attributes:
        kind: name of the class of the network that it is a copy of.
        around: makes the context of the forward pass, in which a graph mode is suspended.
        calls: makes the context in which functions are smooth, see ``SmoothedFunctions.calls``.
        output: logits of the last forward pass, detached; None before one.
    """

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind
        self.around: Callable[[], AbstractContextManager[None]] = nullcontext
        self.calls: Callable[[], AbstractContextManager[object]] = nullcontext
        self.output: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W pixels to logits, which are stored in ``output``, detached."""
        with self.around(), self.calls():
            output: Tensor = self.network(x)
            self.output = output.detach()
        return output


def private_copy(model: nn.Module, x: Tensor) -> Network:
    """A copy of a network that shares every tensor and computes nothing in place.

    Args:
        model: the network.
        x: images in [0, 1], B×C×H×W; the first is tried.

    Raises:
        ValueError: the copy does not compute what the network does.
    """
    if isinstance(model, SmoothedFunctions):
        # Of the network within, so that its layers have their own names.
        network = private_copy(model.network, x)
        network.calls = model.calls
        vars(network).update(forward_hooks(model))
        return network
    network = _copy(model)
    check_same_once(model, network.network, x, "out of place")
    return network


def one_module_per_call(model: nn.Module, x: Tensor) -> Network:
    """A private copy in which every activation and max-pooling is a module that is called once.

    Args:
        model: the network.
        x: images in [0, 1], B×C×H×W; the first is tried.

    Raises:
        ValueError: the network calls functional activations, or one module several times, and cannot be rewritten.
    """
    if isinstance(model, SmoothedFunctions):
        return _smoothed(model, one_module_per_call(model.network, x))
    network = _copy(model)

    def problems_of_copy() -> tuple[str, ...]:
        probe = probe_for(model, x)
        hidden, outputs = hidden_calls(network.network, probe)
        if not hidden:
            check_same(model, network.network, probe, outputs)
        return hidden

    problems = () if is_known(model) else remembered(model, x, "hidden calls", problems_of_copy)
    if not problems:
        return network
    advice = "give every call of an activation or a max-pooling an nn.Module of its own"
    try:
        rewritten = _rewritten(traced(network.network, (*OPERATIONS, Called)))
    except ValueError as error:
        raise ValueError(f"{problems[0]} in {type(model).__name__}, and torch.fx cannot trace it: {advice}") from error
    network = Network(rewritten, network.kind)
    left = remembered(model, x, "calls left hidden", lambda: hidden_calls(rewritten, probe_for(model, x))[0])
    if left:
        raise ValueError(f"{left[0]} in {type(model).__name__} and cannot be made a module: {advice}")
    check_same_once(model, network.network, x, "one module per call")
    return network


def _smoothed(model: SmoothedFunctions, network: Network) -> Network:
    """A copy of the network within, with one module per call, where modules that stand for functions are smooth."""
    kinks = (*PIECEWISE_LINEAR, nn.MaxPool2d)
    # In the order of their calls. Others that stand for functions, as of the sigmoid, have no kink and no number.
    functions = [
        module
        for name, module in network.network.named_children()
        if name.startswith(_FUNCTION) and isinstance(module, kinks)
    ]
    smooth: dict[nn.Module, nn.Module | None] = {
        module: model.counterpart(number, module) for number, module in enumerate(functions)
    }
    replace_modules(network, smooth.get)
    vars(network).update(forward_hooks(model))
    return network


def _copy(model: nn.Module) -> Network:
    network = Network(shared_copy(model), type(model).__name__)
    make_out_of_place(network)
    # Explainers have rules for nn.ReLU.
    replace_modules(network, lambda module: nn.ReLU() if is_relu(module) else None)
    network.training = model.training
    return network


def hidden_calls(network: nn.Module, images: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """Descriptions of the calls that hooks on modules would miss, and the logits.

    There are no descriptions where each call has its own module.
    """
    calls: Counter[nn.Module] = Counter()
    watch = _Watch()

    def enter(module: nn.Module, _inputs: object) -> None:
        calls[module] += 1
        watch.inside += 1

    def leave(_module: nn.Module, _inputs: object, _output: object) -> None:
        watch.inside -= 1

    names: dict[nn.Module, str] = {
        module: name for name, module in network.named_modules() if isinstance(module, CALLED_ONCE)
    }
    handles = [
        handle
        for module in names
        for handle in (module.register_forward_pre_hook(enter), module.register_forward_hook(leave))
    ]
    try:
        with torch.no_grad(), watch:
            # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
            outputs = network.forward(images)
    finally:
        for handle in handles:
            handle.remove()
    reused = [f"module {names[module]!r} is called {count} times" for module, count in calls.items() if count > 1]
    return (*(f"function {name} is called" for name in watch.seen), *reused), outputs


class _Watch(FunctionMode):
    """Records which nonlinear functions are called outside activation modules."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0
        self.seen: list[str] = []

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run every call."""
        if not self.inside and (func in _MODULES or func in _OTHERS):
            self.seen.append(getattr(func, "__name__", str(func)))
        return func(*args, **settings)


def _rewritten(graph: fx.GraphModule) -> fx.GraphModule:
    """Turn functions into modules, in place, and give every further call of a module a copy of it."""
    modules = dict(graph.named_modules())
    methods = {getattr(Tensor, name): name for name in ("relu", "relu_", "sigmoid", "tanh")}
    by_method = {name: _MODULES[function] for function, name in methods.items()}
    numbers = itertools.count()
    used: set[nn.Module] = set()
    for node in list(graph.graph.nodes):
        module: nn.Module | None = None
        prefix = _FUNCTION
        if node.op == "call_function" and node.target in _MODULES:
            module = _made(_MODULES[node.target], node)
        elif node.op == "call_method" and node.target in by_method:
            module = _made(by_method[node.target], node)
        elif node.op == "call_module" and isinstance(modules[node.target], CALLED_ONCE):
            if modules[node.target] in used:
                module, prefix = shared_copy(modules[node.target]), _AGAIN
            used.add(modules[node.target])
        elif node.op == "call_module" and isinstance(modules[node.target], Called):
            module = shared_copy(modules[node.target].module[0])
        if module is not None:
            name = next(name for i in numbers if not hasattr(graph, name := f"{prefix}_{i}"))
            graph.add_submodule(name, module)
            with graph.graph.inserting_before(node):
                x = node.args[:1] or (node.kwargs["input"],)
                node.replace_all_uses_with(graph.graph.call_module(name, x))
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _made(make: Callable[..., nn.Module], node: fx.Node) -> nn.Module:
    settings = {key: value for key, value in node.kwargs.items() if key not in ("input", "return_indices")}
    if any(isinstance(value, fx.Node) for value in (*node.args[1:], *settings.values())):
        raise ValueError(f"settings of {node} are computed by the network")
    return make(*node.args[1:], **settings)
