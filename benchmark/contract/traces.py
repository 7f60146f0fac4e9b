"""What an item may leave behind: in a network, in tensors it was given, in the random states of the process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attrobust.benchmark.contract.claims import require
from attrobust.networks.state import HOOKS


@dataclass(frozen=True, kw_only=True)
class Traces:
    """A network and tensors as they were.

    Attributes:
        network: what was looked at; its state is in the other fields.
        values: parameters and buffers, by name.
        modes: whether each module was in training mode.
        hooks: number of hooks.
        flags: whether each parameter required a gradient.
        gradients: number of parameters that had one.
        tensors: what else was given, by name, with a copy.
    """

    network: nn.Module
    values: Mapping[str, Tensor]
    modes: tuple[bool, ...]
    hooks: int
    flags: tuple[bool, ...]
    gradients: int
    tensors: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, network: nn.Module, **tensors: Tensor | None) -> Traces:
        """A network, and tensors by name, as they are now."""
        return cls(
            network=network,
            values={name: value.detach().clone() for name, value in _values(network)},
            modes=tuple(module.training for module in network.modules()),
            hooks=_hooks(network),
            flags=tuple(parameter.requires_grad for parameter in network.parameters()),
            gradients=sum(parameter.grad is not None for parameter in network.parameters()),
            tensors={name: (value, value.detach().clone()) for name, value in tensors.items() if value is not None},
        )

    def require_none(self, *, statistics: bool = False) -> None:
        """Raise ClaimError where anything changed, but for running statistics where ``statistics`` is set."""
        for name, (value, before) in self.tensors.items():
            require(torch.equal(value.detach(), before), f"it changes {name} in place; work on a copy")
        now = dict(_values(self.network))
        kept = {name for name in self.values if not (statistics and _is_statistic(name, self.network))}
        changed = [name for name in kept if name not in now or not torch.equal(now[name].detach(), self.values[name])]
        require(not changed, f"it changes the network's {min(changed, default='')}; work on a copy")
        modes = tuple(module.training for module in self.network.modules())
        require(modes == self.modes, "it leaves the network in another mode; put train() and eval() back")
        require(_hooks(self.network) == self.hooks, "it leaves hooks in the network; remove them")
        flags = tuple(parameter.requires_grad for parameter in self.network.parameters())
        require(flags == self.flags, "it leaves other requires_grad flags in the network; put them back")
        gradients = sum(parameter.grad is not None for parameter in self.network.parameters())
        require(gradients == self.gradients, "it leaves gradients in the network; use torch.autograd.grad")


def _values(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _is_statistic(name: str, network: nn.Module) -> bool:
    """Whether a buffer is what a pass in training mode updates: of a normalisation, or of a parametrised weight."""
    if name in dict(network.named_parameters()):
        return False
    owner = network.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.modules.batchnorm._NormBase) or "parametrizations." in name


def _hooks(network: nn.Module) -> int:
    return sum(len(getattr(module, name)) for module in network.modules() for name in HOOKS)


@contextmanager
def no_global_randomness() -> Iterator[None]:
    """Raises ClaimError after the block where a random number was drawn from a state of the process."""
    states: dict[str, Callable[[], object]] = {
        "torch's": lambda: torch.random.get_rng_state().tolist(),
        "NumPy's": lambda: str(np.random.get_state()),
        "Python's": random.getstate,
    }
    before = {name: state() for name, state in states.items()}
    yield
    for name, state in states.items():
        require(
            state() == before[name],
            f"it draws from {name} global random numbers; draw from the generator it is given",
        )
