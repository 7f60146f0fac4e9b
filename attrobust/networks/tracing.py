"""Traces networks to torch.fx graphs, for explainers with a rule for every operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from attrobust.naming.safe import first_line
from attrobust.networks.function_mode import FunctionMode
from attrobust.networks.probe import check_same_once
from attrobust.networks.smoothed import OPERATIONS, forward_hooks, make_out_of_place, shared_copy


def traced(model: nn.Module, leaves: tuple[type[nn.Module], ...] = OPERATIONS) -> fx.GraphModule:
    """The network as a graph whose leaves are ``torch.nn`` layers and ``OPERATIONS``, with nothing computed in place.

    Its modules are copies of the model's, hooks included, that share every tensor; the model is unchanged. The hooks of
    the model itself are copied too, so that passes of the graph are counted as the model's. Other threads may run any
    network meanwhile.

    Args:
        model: the network, traced in its present mode (training or evaluation).
        leaves: modules that are leaves beside layers of torch.

    Raises:
        ValueError: torch.fx cannot trace the model.
    """
    kind = type(model).__name__
    if "forward" in vars(model):
        raise ValueError(
            f"{kind} has a forward set on the object, unseen by torch.fx: hand in the network it was made of"
        )
    try:
        double = shared_copy(model)
        make_out_of_place(double)
        graph = fx.GraphModule(double, _Tracer(leaves).trace(double))
    except Exception as error:  # the author's own code runs here, which may raise anything
        problem = first_line(error)
        raise ValueError(
            f"torch.fx cannot trace {kind} ({problem}): write its forward without branches on values"
        ) from error
    for node in graph.graph.nodes:
        _take_out_of_place(node)
    graph.recompile()
    vars(graph).update(forward_hooks(model))
    return graph


@dataclass(frozen=True)
class Pass:
    """A network's graph with the values of its nodes for a batch of images.

    Attributes:
        graph: of the network; placeholders come first, among them the image.
        output: of the network.
        values: of the nodes, tensors or not.
    """

    graph: fx.GraphModule
    output: Tensor
    values: dict[fx.Node, Any]

    @classmethod
    def of(cls, model: nn.Module, x: Tensor) -> Pass:
        """Trace a model and send images through the graph, which counts as one pass through the model.

        Args:
            model: the network.
            x: images, B×C×H×W.

        Raises:
            ValueError: torch.fx cannot trace the model, or the graph computes something else.
        """
        graph = traced(model)
        check_same_once(model, graph, x, "graph")
        interpreter = fx.Interpreter(graph, garbage_collect_values=False)
        output = _Hooked(model, interpreter)(x)
        return cls(graph, output, interpreter.env)

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls; None where it calls a function or method."""
        return self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """The input nodes of a node whose values are tensors."""
        return [source for source in node.all_input_nodes if isinstance(self.values[source], Tensor)]

    def function(self, node: fx.Node) -> Callable[..., Any]:
        """The operation of a node as a function of the values of its sources."""
        sources, module = self.sources(node), self.module(node)

        def compute(*tensors: Tensor) -> Any:
            values = self.values | dict(zip(sources, tensors, strict=True))
            args = fx.node.map_arg(node.args, values.__getitem__)
            settings = fx.node.map_arg(node.kwargs, values.__getitem__)
            if module is not None:
                return module.forward(*args, **settings)
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **settings)
            assert callable(node.target)
            return node.target(*args, **settings)

        return compute


class _Hooked(nn.Module):
    """Runs a graph under the forward hooks of its model."""

    def __init__(self, model: nn.Module, interpreter: fx.Interpreter) -> None:
        super().__init__()
        vars(self).update(forward_hooks(model))
        self.run = interpreter.run

    def forward(self, x: Tensor) -> Any:
        return self.run(x)


class _Tracer(fx.Tracer):
    """torch.fx's tracer without its patch of ``nn.Module.__call__``, which would affect other threads.

    The modules of the network get subclasses of their own while it is traced; no other network may share them.
    """

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._leaves = leaves

    def trace(self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """The graph of a network that takes one argument."""
        assert isinstance(root, nn.Module) and concrete_args is None
        self.root, self.graph, self.tensor_attrs = root, fx.Graph(tracer_cls=type(self)), {}
        names = {module: name for name, module in root.named_modules()}
        classes = {module: type(module) for module in names}
        x = self.create_proxy("placeholder", "x", (), {})
        try:
            for module, kind in classes.items():
                own = {
                    "__call__": self._call_of(kind, names[module]),
                    "__getattr__": self._getattr_of(kind, names[module]),
                }
                module.__class__ = type(kind.__name__, (kind,), own)
            with _NoSwitches():
                output = root.forward(x)
            self.create_node("output", "output", (self.create_arg(output),), {})
        finally:
            for module, kind in classes.items():
                module.__class__ = kind
        return self.graph

    def _call_of(self, kind: type[nn.Module], name: str) -> Callable[..., Any]:
        def call(module: nn.Module, *args: Any, **settings: Any) -> Any:
            library = kind.__module__.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(module, nn.Sequential)
            if library or isinstance(module, self._leaves):
                return self.create_proxy("call_module", name, args, settings)
            # ``forward`` and not a call: hooks expect tensors. Where a hook changes the output, ``check_same`` sees it.
            return module.forward(*args, **settings)

        return call

    def _getattr_of(self, kind: type[nn.Module], name: str) -> Callable[..., Any]:
        def get(module: nn.Module, attribute: str) -> Any:
            value = kind.__getattr__(module, attribute)
            if isinstance(value, nn.Parameter):
                return self.create_proxy("get_attr", f"{name}.{attribute}".lstrip("."), (), {})
            return value

        return get


class _NoSwitches(FunctionMode):
    """Raises where a network switches gradients on or off, which torch.fx does not record."""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        if func is torch._C._set_grad_enabled:
            raise ValueError("it switches gradients on or off; use detach()")
        return func(*args, **settings)


def _take_out_of_place(node: fx.Node) -> None:
    """Turn an in-place node, such as ``relu_``, into its out-of-place counterpart, ``relu``."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    counterpart = name[:-1] if name.endswith("_") and not name.endswith("__") else None
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
    elif counterpart is not None and node.op == "call_method":
        node.target = counterpart
    elif counterpart is not None and node.op == "call_function":
        node.target = getattr(torch, counterpart, getattr(F, counterpart, node.target))
