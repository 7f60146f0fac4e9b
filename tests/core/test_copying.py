"""Copies of networks do not depend on what the networks were used for before."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.networks.copying import independent_copy, without_inference
from attrobust.networks.smoothed import shared_copy
from attrobust.networks.state import unchanged, untouched
from attrobust.places import sources


class Keeping(nn.Module):
    """A network that keeps its last logits: alone, in a list and under a name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.kept: list[Tensor] = []
        self.named: dict[str, tuple[Tensor, ...]] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.last: Tensor = self.network(x)
        self.kept = [self.last]
        self.named = {"logits": (self.last,)}
        return self.last


@pytest.mark.parametrize("duplicate", [independent_copy, shared_copy])
def test_a_network_that_keeps_tensors_of_a_pass_with_gradients_is_copied(
    duplicate: object, real_images: tuple[Tensor, Tensor]
) -> None:
    network, x = Keeping(load("digits/natural")), real_images[0][:2]
    wanted = network(x)
    assert not network.last.is_leaf
    copied = duplicate(network)  # type: ignore[operator]
    assert torch.equal(copied(x), wanted)
    assert copied.kept[0] is not network.kept[0]


def test_a_copy_shares_no_tensor_and_keeps_no_graph(real_images: tuple[Tensor, Tensor]) -> None:
    network = Keeping(load("digits/natural"))
    network(real_images[0][:2])
    copied = independent_copy(network)
    assert copied.last is copied.kept[0] is copied.named["logits"][0]
    assert torch.equal(copied.last, network.last)
    assert not copied.last.requires_grad
    theirs = {parameter.data_ptr() for parameter in network.parameters()}
    assert theirs.isdisjoint(parameter.data_ptr() for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in copied.parameters())


def test_a_network_made_in_inference_mode_is_copied_to_one_that_can_be_differentiated(
    real_images: tuple[Tensor, Tensor],
) -> None:
    with torch.inference_mode():
        network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10)).eval()
        copied = without_inference(network)
    with torch.no_grad():
        wanted = network(real_images[0])
    logits = copied(real_images[0])
    assert torch.equal(logits, wanted)
    logits.sum().backward()
    assert without_inference(copied) is copied


def test_what_cannot_be_copied_is_named() -> None:
    network = nn.Linear(2, 2)
    network.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ValueError, match="Linear cannot be copied"):
        independent_copy(network)


def test_nothing_else_copies_networks() -> None:
    rooms = ("attrobust", "methods", "explainers", "attacks", "metrics", "benchmark")
    found = [name for room in rooms for name, file in sources(room) if "deepcopy(" in file.read_text("utf-8")]
    assert found == ["attrobust/networks/copying.py"]


# Networks put back.


def change_weights(network: nn.Module) -> None:
    next(network.parameters()).data.mul_(0.5)


def change_precision(network: nn.Module) -> None:
    network.double()


def change_gradient(network: nn.Module) -> None:
    for parameter in network.parameters():
        assert parameter.grad is not None
        parameter.grad.zero_()


def change_module(network: nn.Module) -> None:
    network.classifier = nn.Flatten()


def change_forward(network: nn.Module) -> None:
    network.forward = lambda x: x  # type: ignore[method-assign]


CHANGES = [change_weights, change_precision, change_gradient, change_module, change_forward]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_of_a_network_is_put_back(change: object, real_images: tuple[Tensor, Tensor]) -> None:
    network, x = load("digits/natural"), real_images[0][:2]
    wanted = network(x)
    wanted.sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    with untouched(network):
        change(network)  # type: ignore[operator]
    assert torch.equal(network(x), wanted)
    assert all(
        torch.equal(a, b.grad) for a, b in zip(gradients, network.parameters(), strict=True) if b.grad is not None
    )
    assert all(parameter.requires_grad for parameter in network.parameters())


def hook(network: nn.Module) -> None:
    network.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (change_weights, "changes the network; work on copies"),
        (change_module, "changes the modules of the network; work on copies"),
        (hook, "leaves hooks in the network; remove them"),
        (lambda network: network(torch.zeros(1, 1, 28, 28)).sum().backward(), "leaves gradients in the network"),
    ],
    ids=["weights", "module", "hook", "gradients"],
)
def test_who_changes_a_network_is_named_and_the_network_put_back(change: object, problem: str) -> None:
    network = load("digits/natural")
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=f"the guest {problem}"), unchanged(network, "the guest"):
        change(network)  # type: ignore[operator]
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert not network._forward_hooks
    assert all(parameter.grad is None for parameter in network.parameters())
