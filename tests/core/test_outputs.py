"""Networks that return something other than a logit for each class: made to return these and said so, or refused."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrobust import load, with_logits
from attrobust.explainers.saliency import Saliency

from helpers.runs import FAST, run

Pair = namedtuple("Pair", ["out", "aux"])
Capture = pytest.CaptureFixture[str]


@dataclass
class Answer:
    logits: Tensor
    loss: None = None


class Returning(nn.Module):
    """The digits network, returning something made of its logits."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner = load("digits/natural")
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.inner(x))


ADAPTED: dict[str, Callable[[Tensor], Any]] = {
    "a tuple with features": lambda z: (z, z[:, :3].repeat(1, 4)),
    "a list": lambda z: [z],
    "a named tuple": lambda z: Pair(z, None),
    "a dict": lambda z: {"features": z.repeat(1, 2), "out": z},
    "a dict of two that could be, one of them called logits": lambda z: OrderedDict(out=2 * z, logits=z),
    "a dataclass": Answer,
    "a map of one pixel": lambda z: z[:, :, None, None],
}


@pytest.mark.parametrize("kind", ADAPTED)
def test_logits_are_found_in_what_a_network_returns_and_that_is_said(
    kind: str, real_images: tuple[Tensor, Tensor], said: list[str]
) -> None:
    x, y = real_images[0][:4], real_images[1][:4]
    network = with_logits(Returning(ADAPTED[kind]), x, 10)
    plain = load("digits/natural")
    assert torch.equal(network(x), plain(x))
    assert torch.equal(Saliency()(network, x, y), Saliency()(plain, x, y))
    (line,) = said
    assert line.startswith("warning: Returning returns a ")
    assert "used" in line


@pytest.mark.parametrize("make", [lambda z: z[:, 3:4] - z[:, 5:6], lambda z: z[:, 3] - z[:, 5]], ids=["B×1", "B"])
def test_one_logit_of_two_classes_becomes_two_of_the_same_probability(
    make: Callable[[Tensor], Tensor], real_images: tuple[Tensor, Tensor], said: list[str]
) -> None:
    x = real_images[0]
    network, z = with_logits(Returning(make), x, 2), make(load("digits/natural")(x)).flatten()
    assert torch.allclose(network(x).softmax(dim=1)[:, 1], z.sigmoid(), atol=1e-6)
    assert torch.equal(network(x).argmax(dim=1) == 1, z > 0), "a prediction can be kept, or not"
    assert 0 < int((z > 0).sum()) < len(z)
    (line,) = said
    assert line.endswith("its output is used as two logits, -z/2 and z/2")


def test_a_network_that_returns_logits_is_left_as_it_is(real_images: tuple[Tensor, Tensor], said: list[str]) -> None:
    network = load("digits/natural")
    assert with_logits(network, real_images[0], 10) is network
    assert said == []


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda net: torch.compile(net, backend="eager"), lambda net: nn.DataParallel(torch.compile(net))],
    ids=["parallel", "compiled", "both"],
)
def test_wrappers_of_torch_are_taken_off(
    wrap: Callable[[nn.Module], nn.Module], real_images: tuple[Tensor, Tensor]
) -> None:
    network = load("digits/natural")
    assert with_logits(wrap(network).eval(), real_images[0], 10) is network


def lower(x: Tensor) -> nn.Module:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = load("digits/natural")

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inner(x)  # type: ignore[no-any-return]

    return Inside()


class Float(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def quantised(_x: Tensor) -> nn.Module:
    network: nn.Module = torch.ao.quantization.quantize_dynamic(load("digits/natural"), {nn.Linear})
    return network


def traced(x: Tensor) -> nn.Module:
    program: nn.Module = torch.jit.trace(load("digits/natural"), x)  # type: ignore[no-untyped-call]
    return program.eval()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda _: Returning(lambda z: z[:, :1]),
            "returns a tensor 4×1 for 4 images of 10 classes; a single logit fits",
        ),
        (lambda _: Returning(lambda z: z[:, 0]), "returns a tensor 4 for 4 images of 10 classes; a single logit fits"),
        (
            lambda _: Returning(lambda z: z[:, :7]),
            "returns a tensor 4×7 for 4 images of 10 classes; one logit for each",
        ),
        (
            lambda _: Returning(lambda z: (z, 2 * z)),
            r"a tuple \(0 4×10, 1 4×10\); 2 of them could be the logits of 10 cl",
        ),
        (
            lambda _: Returning(lambda z: {"a": z[:, 1]}),
            r"a dict \(a 4\); none of it is the logits of 10 classes: wrap",
        ),
        (lambda _: Returning(str), r"returns a str \(no tensors\); none of it is the logits"),
        (lambda _: Returning(lambda z: z.argmax(dim=1)[:, None].repeat(1, 10)), "returns int64 for images in float32"),
        (lambda _: load("digits/natural").half(), r"weights in float16, .* turn it: network\.float\(\)"),
        (lambda _: load("digits/natural").bfloat16(), "weights in bfloat16"),
        (lower, r"returns bfloat16 for images in float32: it computes in lower precision \(autocast\)"),
        (lambda x: nn.Sequential(lower(x), Float()), "has values in bfloat16 inside for images in float32"),
        (
            lambda _: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
            "has no values for '1.weight' yet; load its weights",
        ),
        (lambda _: load("digits/natural").to("meta"), "has no values for '.*' yet; load its weights"),
        (quantised, "has a quantised Linear, which has no gradient; give the network from before"),
        (traced, "is a TorchScript program, whose layers cannot be followed; give the module that it was made of"),
    ],
)
def test_what_has_no_logits_to_attack_is_refused_in_one_line(
    make: Callable[[Tensor], nn.Module], message: str, real_images: tuple[Tensor, Tensor]
) -> None:
    x = real_images[0][:4]
    with pytest.raises(ValueError, match=message) as caught:
        with_logits(make(x), x, 10)
    assert "\n" not in str(caught.value)


PLUGIN = '''"""An architecture of one's own."""

from dataclasses import dataclass

from torch import nn

from attrobust import ModelFamily, Normalize, register_model


class Net(nn.Module):
    def __init__(self, facts):
        super().__init__()
        self.layers = nn.Sequential(
            Normalize(facts.mean, facts.std), nn.Conv2d(facts.channels, 4, 5, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * 8 * 8, facts.classes),
        )

    def forward(self, x):
        z = self.layers(x)
        return RETURNED


@register_model("mine")
@dataclass(frozen=True, kw_only=True)
class Mine(ModelFamily):
    def network(self, facts):
        return Net(facts)
'''


def test_an_architecture_of_ones_own_may_return_a_dict_and_is_refused_in_one_line_where_it_has_no_logits(
    tmp_path: Path, capsys: Capture
) -> None:
    plugin = tmp_path / "mine.py"
    words = ["--plugin", plugin, "--model", "mine", "--methods", "natural", "--epochs", "1", *FAST]
    plugin.write_text(PLUGIN.replace("RETURNED", "{'logits': z}"))
    code, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    assert "warning: Net returns a dict (logits 2×10); its 'logits' is used" in err
    other = tmp_path / "other.py"
    other.write_text(PLUGIN.replace("RETURNED", "z[:, :1]").replace('"mine"', '"other"'))
    words[1], words[3] = other, "other"
    code, out, err = run([*words, "--out", tmp_path / "other"], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Net returns a tensor 2×1 for 2 images of 10 classes" in err
    assert not (tmp_path / "other").is_dir() or not (tmp_path / "other" / "rows.jsonl").exists()
