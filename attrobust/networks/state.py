"""Contexts that restore a network: its mode, or all of its state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Tables of a module that hooks are entered in."""
PARTS = ("_parameters", "_buffers", "_modules")
"""Tables of a module that hold what it is made of."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, no parameter requiring grad; afterwards everything is put back.

    Modules, modes, weights, buffers, gradients, ``requires_grad`` flags, hooks and other attributes are those from
    before.
    """
    before = _State(model)
    try:
        model.eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        yield
    finally:
        before.restore()


@contextmanager
def unchanged(model: nn.Module, who: str) -> Iterator[None]:
    """Hold the block to leaving a network as it is; whatever it changed is put back, as by ``untouched``.

    Raises:
        ValueError: the block changed a module, a weight or a buffer, or left hooks or gradients; says that ``who`` did.
    """
    before = _State(model)
    try:
        yield
        problem = before.difference()
    finally:
        before.restore()
    if problem:
        raise ValueError(f"{who} {problem}")


class _State:
    """The state of a network as it is now."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [
            (module, dict(vars(module)), {name: dict(table) for name, table in _tables(module)})
            for module in model.modules()
        ]
        self._parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
        self._values = [(tensor, tensor.detach().clone()) for tensor in _tensors(model)]

    def difference(self) -> str:
        """What is different by now, as an error message says it; empty where nothing is."""
        for module, _, tables in self._modules:
            if any(dict(vars(module).get(name, {})) != tables[name] for name in HOOKS):
                return "leaves hooks in the network; remove them"
            # By identity, since the values are tensors.
            if any(_ids(vars(module).get(name, {})) != _ids(tables[name]) for name in PARTS):
                return "changes the modules of the network; work on copies"
        if any(parameter.grad is not gradient for parameter, _, gradient in self._parameters):
            return "leaves gradients in the network; use torch.autograd.grad"
        if not all(_same(tensor, value) for tensor, value in self._values):
            return "changes the network; work on copies"
        return ""

    def restore(self) -> None:
        """Put everything back that is different by now."""
        for module, attributes, tables in self._modules:
            vars(module).clear()
            vars(module).update(attributes)
            for name, table in tables.items():
                # In place, since handles of hooks refer to the table.
                attributes[name].clear()
                attributes[name].update(table)
        for tensor, value in self._values:
            if not _alike(tensor, value):
                tensor.data = value
            elif not _same(tensor, value):
                with torch.no_grad():
                    tensor.copy_(value)
        for parameter, flag, gradient in self._parameters:
            parameter.requires_grad_(flag)
            parameter.grad = gradient


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Weights, their gradients, buffers and tensors that are plain attributes."""
    for parameter in model.parameters():
        yield from (parameter, *([] if parameter.grad is None else [parameter.grad]))
    yield from model.buffers()
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))


def _tables(module: nn.Module) -> Iterator[tuple[str, dict[str, object]]]:
    return ((name, value) for name, value in vars(module).items() if isinstance(value, dict))


def _ids(table: dict[str, object]) -> dict[str, int]:
    return {name: id(value) for name, value in table.items()}


def _alike(tensor: Tensor, value: Tensor) -> bool:
    return (tensor.shape, tensor.dtype, tensor.device) == (value.shape, value.dtype, value.device)


def _same(tensor: Tensor, value: Tensor) -> bool:
    """Whether two tensors hold the same values, NaN among them."""
    if not _alike(tensor, value):
        return False
    return torch.equal(tensor, value) or torch.equal(tensor.nan_to_num(), value.nan_to_num())
