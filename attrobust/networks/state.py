"""Contexts that restore a network: its mode, or all of its state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Tables of a module that hooks are entered in."""


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

    Modes, weights, buffers, gradients, ``requires_grad`` flags and hooks are those from before.
    """
    hooks = [(module, name, dict(getattr(module, name))) for module in model.modules() for name in HOOKS]
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    values = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    with evaluating(model):
        try:
            for parameter, _, _ in flags:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, name, before in hooks:
                hooks_now = getattr(module, name)
                hooks_now.clear()
                hooks_now.update(before)
            for parameter, flag, gradient in flags:
                parameter.requires_grad_(flag)
                parameter.grad = gradient
            with torch.no_grad():
                for tensor, value in values:
                    tensor.copy_(value)
