"""What was found out about a network is asked again when anything changed that it may depend on, and leaks nothing."""

from __future__ import annotations

import copy
import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attrobust.explainers import registry
from attrobust.networks import private_copy, probe
from attrobust.networks.copying import independent_copy
from attrobust.networks.findings import remembered, steady
from attrobust.networks.kinks import SmoothActivation

IMAGES = torch.zeros(1, 3, 8, 8)


@dataclass
class Settings:
    scale: float = 1.0


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 5))
        self.settings, self.scales, self.named = Settings(), [1.0], {"scale": (1.0,)}
        self.plain = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.norm(self.conv(x)))) * self.settings.scale  # type: ignore[no-any-return]


class Explained(Network):
    """A network for every explainer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.norm(self.conv(x))))  # type: ignore[no-any-return]


def step(network: Any) -> None:
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()


def forward_twice(network: Any) -> None:
    network.forward = lambda x: 2 * type(network).forward(network, x)


CHANGES: dict[str, Callable[[Any], object]] = {
    "a training step": step,
    "a weight in place": lambda n: n.conv.weight.detach().mul_(2),
    "a weight replaced": lambda n: setattr(n.conv, "weight", nn.Parameter(n.conv.weight.detach().clone())),
    "a weight's data replaced": lambda n: setattr(n.conv.weight, "data", n.conv.weight.detach().clone()),
    "loaded weights": lambda n: n.load_state_dict(copy.deepcopy(n.state_dict())),
    "a buffer in place": lambda n: n.norm.running_mean.add_(1),
    "a buffer replaced": lambda n: setattr(n.norm, "running_mean", torch.ones(4)),
    "the mode": lambda n: n.train(),
    "the mode of a part": lambda n: n.norm.train(),
    "requires_grad": lambda n: n.conv.bias.requires_grad_(False),
    "a module replaced": lambda n: setattr(n, "relu", nn.Tanh()),
    "a module added": lambda n: n.head.append(nn.ReLU()),
    "a class": lambda n: setattr(n.relu, "__class__", nn.Tanh),
    "a forward on the object": forward_twice,
    "a number": lambda n: setattr(n.norm, "eps", 0.1),
    "a number in a dataclass": lambda n: setattr(n.settings, "scale", 2.0),
    "a list": lambda n: n.scales.append(2.0),
    "a nested container": lambda n: n.named.update(scale=(2.0,)),
    "a new attribute": lambda n: setattr(n, "other", 1),
    "a plain tensor": lambda n: n.plain.add_(1),
    "the precision": lambda n: n.double(),
}


@pytest.fixture(autouse=True)
def _only_ours_runs() -> Iterator[None]:
    with steady(True):
        yield


def asked(network: nn.Module, x: Tensor = IMAGES, question: str = "question") -> bool:
    """Whether the answer is found anew."""
    found: list[int] = []

    def find() -> int:
        found.append(1)
        return 1

    assert remembered(network, x, question, find) == 1
    return bool(found)


def test_an_answer_is_found_once() -> None:
    network = Network().eval()
    assert asked(network)
    assert not asked(network)
    assert not asked(network, torch.ones(4, 3, 8, 8))


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_found_again_after_a_change_of(change: str) -> None:
    network = Network().eval()
    asked(network)
    CHANGES[change](network)
    assert asked(network)
    assert not asked(network)


def test_other_questions_images_and_networks_have_answers_of_their_own() -> None:
    network = Network().eval()
    asked(network)
    assert asked(network, question="another")
    assert asked(network, torch.zeros(1, 3, 9, 9))
    assert asked(network, IMAGES.double())
    assert asked(independent_copy(network))
    assert not asked(network)


def test_a_forward_changed_in_the_class_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network().eval()
    asked(network)
    monkeypatch.setattr(nn.ReLU, "forward", lambda _self, x: functional.relu6(x))
    assert asked(network)


@pytest.mark.parametrize("spoil", ["hook", "object"])
def test_nothing_is_kept_about_a_network_whose_changes_cannot_be_seen(spoil: str) -> None:
    network: Any = Network().eval()
    if spoil == "hook":
        network.relu.register_forward_hook(lambda *_: None)
    else:
        network.lock = threading.Lock()
    assert asked(network)
    assert asked(network)


def test_hooks_of_the_network_itself_are_passed_by() -> None:
    network = Network().eval()
    asked(network)
    network.register_forward_hook(lambda *_: None)
    assert not asked(network)


def test_a_temperature_is_passed_by_and_other_settings_are_not() -> None:
    class Own(nn.Softplus):
        """May decide by its beta what it computes."""

    network, asked = Network(), itertools.count()

    def answers() -> int:
        return remembered(network, IMAGES, "question", lambda: next(asked))

    with steady(ours=True):
        for relu, names in ((nn.Softplus(), {"beta"}), (SmoothActivation(nn.ReLU6(), 1.0), {"beta"}), (Own(), set())):
            network.relu = relu  # type: ignore[assignment]
            before = answers()
            for name in ("beta", "threshold", "inplace"):
                if hasattr(relu, name):
                    setattr(relu, name, 7)
                    assert (answers() == before) == (name in names)
                    before = answers()


def test_an_error_is_not_kept() -> None:
    network = Network().eval()

    def fail() -> int:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            remembered(network, IMAGES, "question", fail)
    assert asked(network)


def test_a_network_is_freed_with_what_was_found() -> None:
    network = Network().eval()
    asked(network)
    reference = weakref.ref(network)
    del network
    gc.collect()
    assert reference() is None


def test_outside_of_a_block_in_which_only_ours_runs_nothing_is_kept() -> None:
    network = Network().eval()
    asked(network)
    with steady(False):
        assert asked(network)
        assert asked(network)
    assert not asked(network)
    with steady(True):
        assert not asked(network)


MODULES = {"used": True}
"""What no state of a network shows."""


class ReadsAGlobal(nn.Module):
    """Calls its module, or the function in place of it, as a global variable says."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        logits: Tensor = self.head((self.relu(features) if MODULES["used"] else functional.relu(features)).flatten(1))
        return logits


@pytest.mark.parametrize("name", ["deeplift", "guided-backprop", "deconvolution"])
def test_what_no_state_shows_is_found_out_at_the_next_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, explainer = ReadsAGlobal().eval(), registry.get(name)()
    x, y = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1])
    with steady(False):
        wanted = explainer(network, x, y)
        monkeypatch.setitem(MODULES, "used", False)
        try:
            found = explainer(network, x, y)
        except ValueError:
            return
    torch.testing.assert_close(found, wanted)


HOOKED = ["deeplift", "deeplift-shap", "guided-backprop", "deconvolution", "gradcam", "guided-gradcam", "lrp"]


@pytest.mark.parametrize("name", HOOKED)
@pytest.mark.parametrize("change", ["a training step", "a weight in place", "data in place", "a module replaced"])
def test_a_map_is_that_of_the_network_as_it_is_now(name: str, change: str) -> None:
    torch.manual_seed(0)
    network: Any = Explained().eval()
    x, y = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1])
    explainer = registry.get(name)()
    before = explainer(network, x, y)
    if change == "data in place":
        network.conv.weight.data.mul_(-1.5)
    elif change == "a module replaced":
        network.conv = nn.Conv2d(3, 4, 5, padding=2)
    else:
        CHANGES[change](network)
    network.eval()
    after = explainer(network, x, y)
    assert torch.equal(after, explainer(independent_copy(network), x, y))
    assert not torch.equal(after, before)


def test_a_second_call_tries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Explained().eval()
    x, y = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    explainers = [registry.get(name)() for name in HOOKED]
    wanted = [explainer(network, x, y) for explainer in explainers]
    for room, tried in ((probe, "check_same"), (private_copy, "hidden_calls")):
        monkeypatch.setattr(room, tried, lambda *_: pytest.fail("tried again"))
    for explainer, maps in zip(explainers, wanted, strict=True):
        assert torch.equal(explainer(network, x, y), maps)
