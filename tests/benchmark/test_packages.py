"""Networks and weights of torchvision, timm and RobustBench by name."""

from __future__ import annotations

import copy
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import UsageError, load
from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint, parse_external
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models import robustbench_names
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.normalization import constants, text_of
from attrobust.explainers.guided import GuidedBackprop
from attrobust.naming.component import resolve_one
from attrobust.networks.smoothed import activations, softplus_model
from attrobust.types import ImageFacts

from helpers.runs import FAST, run

pytestmark = pytest.mark.filterwarnings("ignore:Setting .* hooks:UserWarning")
Capture = pytest.CaptureFixture[str]
THOUSAND = ImageFacts(channels=3, size=64, classes=1000, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
IMAGENET = (torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1))


@pytest.fixture
def x(real_images: tuple[Tensor, Tensor]) -> Tensor:
    """Four test digits as colour images of 64×64."""
    return F.interpolate(real_images[0][:4], size=64, mode="bilinear").expand(-1, 3, -1, -1).contiguous()


def external(source: str) -> ExternalCheckpoint:
    return parse_external(f"mine={source}", resolve_one(models.registry, "lenet", ModelFamily))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "vgg11_bn", "efficientnet_b0"])
def test_a_file_of_a_torchvision_network_is_that_network(name: str, x: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=7)
    with torch.no_grad():
        theirs.train()(x)
    theirs.eval()
    torch.save({"model": theirs.state_dict(), "args": {"lr": 0.1}}, tmp_path / "model.pth")
    facts = ImageFacts(channels=3, size=64, classes=7, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    ours, _ = external(f"{tmp_path / 'model.pth'}:torchvision:name={name},normalize=imagenet").open(facts)
    mean, std = IMAGENET
    wanted = theirs((x - mean) / std)
    assert (ours(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert not any(getattr(module, "inplace", False) for module in ours.modules())


def test_a_residual_network_of_torchvision_has_an_activation_for_each_call(x: Tensor) -> None:
    facts = ImageFacts(channels=3, size=64, classes=7, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    network = resolve_one(models.registry, "torchvision:name=resnet50", ModelFamily).item.build(facts).eval()
    assert len(activations(network)) == 49
    target = torch.tensor([0, 1, 2, 3])
    assert GuidedBackprop()(network, x, target).abs().max() > 0
    assert not torch.equal(softplus_model(network, 3.0)(x), network(x))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet1", "torchvision has no 'resnet1'. Did you mean 'resnet18'?"),
        ("fasterrcnn_resnet50_fpn", "torchvision has no 'fasterrcnn_resnet50_fpn'"),
    ],
)
def test_names_that_torchvision_has_not_for_classification_are_refused(name: str, message: str) -> None:
    for text in (f"torchvision/{name}", f"torchvision/{name}.IMAGENET1K_V1"):
        with pytest.raises(UsageError) as caught:
            external(text)
        assert message in str(caught.value)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps downloads, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "hub" / "checkpoints"


def test_torchvisions_weights_come_with_their_normalisation_and_claim(hub: Path, x: Tensor, digits: Loaded) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None).eval()
    hub.mkdir(parents=True)
    file = hub / torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    old = {key: value for key, value in theirs.state_dict().items() if "num_batches" not in key}
    torch.save(old, file)
    checkpoint = external("torchvision/resnet18")
    network, sha256 = checkpoint.open(THOUSAND)
    mean, std = IMAGENET
    wanted = theirs((x - mean) / std)
    assert (network(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    claim = checkpoint.source.claim(digits)
    assert claim is not None
    assert claim.accuracy == pytest.approx(0.69758)
    assert checkpoint.model.item.constants(THOUSAND) == claim.normalization
    torch.save({**old, "fc.bias": old["fc.bias"] + 1e-6}, file)
    assert checkpoint.open(THOUSAND)[1] != sha256
    assert external("torchvision/resnet18:normalize=half,activation=softplus").model.item.normalize == "half"


def test_other_weights_of_the_same_network_are_chosen_by_their_entry(hub: Path) -> None:
    origins = [external(f"torchvision/resnet50{entry}").source.origin for entry in ("", ".IMAGENET1K_V1")]
    assert origins == ["torchvision/resnet50.IMAGENET1K_V2", "torchvision/resnet50.IMAGENET1K_V1"]
    assert external("torchvision/efficientnet_v2_l").model.item.normalize == "half"
    with pytest.raises(UsageError, match=r"no weights 'IMAGENET1K_V3'\. Did you mean 'IMAGENET1K_V2'"):
        external("torchvision/resnet50.IMAGENET1K_V3")


def test_torchvisions_classifiers_state_a_normalisation_that_has_a_name(hub: Path) -> None:
    from attrobust.benchmark.models.torchvision_names import known_names

    for name in known_names():
        for weights in torchvision.models.get_model_weights(name):
            preset = weights.transforms()
            if weights.name != "IMAGENET1K_FEATURES":
                assert text_of(preset.mean, preset.std) in ("imagenet", "half")
    features = external("torchvision/vgg16.IMAGENET1K_FEATURES")
    mean, std = features.model.item.constants(THOUSAND)
    assert mean == pytest.approx((0.48235, 0.45882, 0.40784))
    assert std == pytest.approx((1 / 255,) * 3)
    hub.mkdir(parents=True)
    network = torchvision.models.vgg16(weights=None).state_dict()
    network["classifier.0.weight"].fill_(float("nan"))  # as these weights have it
    torch.save(network, hub / features.source.weights.url.rpartition("/")[2])  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"IMAGENET1K_FEATURES: 'classifier\.0\.weight' has values that are not fin"):
        features.open(THOUSAND)


def test_weights_that_cannot_be_had_are_one_line(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"IMAGENET1K_V1 cannot be had \(OSError: no network\); put http.* into .*/hub"
    ):
        external("torchvision/resnet18").open(THOUSAND)


def test_a_thousand_classes_do_not_fit_ten(hub: Path) -> None:
    ten = ImageFacts(channels=3, size=32, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3)
    message = r"torchvision/resnet18\.IMAGENET1K_V1 was trained for 1000 classes, the dataset has 10"
    with pytest.raises(UsageError, match=message):
        external("torchvision/resnet18").open(ten)


def test_a_normalisation_is_typed_by_its_name_or_in_numbers() -> None:
    assert text_of([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) == "imagenet"
    assert text_of((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) == "half"
    clip = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    for found, wanted in zip(constants(text_of(*clip), 3), clip, strict=True):
        assert found == pytest.approx(wanted, abs=1e-7)
    item = resolve_one(models.registry, "lenet:normalize=0.5+0.4+0.3/0.2+0.25+0.5", ModelFamily).item
    assert item.constants(THOUSAND) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    assert item.stated_normalization(THOUSAND).endswith("mean 0.5, 0.4, 0.3 and std 0.2, 0.25, 0.5")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mean", "one / stands between them"),
        ("0.5+0.4+0.3/0.2+0.25", "3 means and 2 stds"),
        ("0.5/0", "a std is not above 0"),
        ("0.5/inf", "'inf' is not a finite number"),
        ("0.5/a", "'a' is not a number"),
    ],
)
def test_a_normalisation_that_is_none_is_refused_with_how_to_type_it(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=r"is not one of data, imagenet, .* such as 0\.48\+0\.46") as caught:
        resolve_one(models.registry, f"lenet:normalize={text}", ModelFamily)
    assert problem in str(caught.value)
    with pytest.raises(ValueError, match="is for images of 3 channels, these have 1"):
        constants("0.5+0.4+0.3/0.2+0.25+0.5", 1)


@pytest.mark.parametrize(
    ("package", "words", "install"),
    [
        ("timm", ["--checkpoint", "e=timm/resnet18"], "pip install attrobust[zoo]"),
        ("timm", ["--model", "timm:name=resnet18", "--methods", "natural"], "pip install attrobust[zoo]"),
        ("robustbench", ["--checkpoint", "w=robustbench/Wong2020Fast"], "pip install robustbench"),
    ],
)
def test_a_package_that_is_missing_is_named_with_what_to_type(
    package: str, words: list[str], install: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = run([*words, *FAST, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert install in err
    assert err.count("\n") == 1


def test_timms_networks_and_weights_by_name(x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("resnet10t", num_classes=1000).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet10t.pt")
    mean, std = IMAGENET
    wanted = theirs((x - mean) / std)
    ours, _ = external(f"{tmp_path / 'resnet10t.pt'}:timm:name=resnet10t,normalize=imagenet").open(THOUSAND)
    assert (ours(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()

    create: Callable[..., nn.Module] = timm.create_model

    def local(name: str, *, pretrained: bool = False, **settings: Any) -> nn.Module:
        extra = {"pretrained_cfg_overlay": {"file": str(tmp_path / "resnet10t.pt")}} if pretrained else {}
        return create(name, pretrained=pretrained, **extra, **settings)

    monkeypatch.setattr(timm, "create_model", local)
    checkpoint = external("timm/resnet10t.c3_in1k")
    assert checkpoint.model.item.normalize == "imagenet"
    network, _ = checkpoint.open(THOUSAND)
    assert (network(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    with pytest.raises(UsageError, match=r"timm/resnet10t\.c3_in1k was trained for 1000 classes, the dataset has 10"):
        checkpoint.open(ImageFacts(channels=3, size=64, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3))
    with pytest.raises(UsageError, match=r"timm has no 'resnet10q'\. Did you mean"):
        external("timm/resnet10q")


class Functional(nn.Module):
    """The digits network with its activations as functions, as many published networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = copy.deepcopy(load("digits/natural"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner.normalize(x)
        for module in (*self.inner.features, *self.inner.classifier):
            x = F.relu(x, inplace=True) if isinstance(module, nn.ReLU) else module(x)
        return x


@pytest.fixture
def robustbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the package with one network, and where it keeps its model cards."""
    package, utils = types.ModuleType("robustbench"), types.ModuleType("robustbench.utils")
    utils.__file__ = str(tmp_path / "robustbench" / "utils.py")
    known = {("Digits2020", "cifar10", "Linf"): Functional}

    def load_model(*, model_name: str, model_dir: Path, dataset: str, threat_model: str) -> nn.Module:
        return known[model_name, dataset, threat_model]()

    utils.load_model = load_model  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "robustbench", package)
    monkeypatch.setitem(sys.modules, "robustbench.utils", utils)
    monkeypatch.setattr(robustbench_names.RobustBench, "package", "")
    cards = tmp_path / "model_info" / "cifar10" / "Linf"
    cards.mkdir(parents=True)
    return cards


def test_a_robustbench_network_is_a_row_with_its_card(robustbench: Path, tmp_path: Path, capsys: Capture) -> None:
    (robustbench / "Digits2020.json").write_text(json.dumps({"clean_acc": "98.67"}))
    words: list[str | Path] = ["--methods", "natural", "--checkpoint", "w=robustbench/Digits2020", *FAST]
    code, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    line = (
        "w: accuracy 98.7 % on 300 test images, normalisation: its own, inside the network; RobustBench says 98.7 %\n"
    )
    assert line in err
    assert "warning" not in err
    rows = [json.loads(text) for text in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    means = [row["mean"] for row in rows]
    assert means[: len(means) // 2] == pytest.approx(means[len(means) // 2 :], abs=1e-6)
    (robustbench / "Digits2020.json").write_text(json.dumps({"clean_acc": "83.34"}))
    _, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert "warning: w: accuracy 98.7 % is far from RobustBench's 83.3 %: other images" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("robustbench/Nobody2020", "RobustBench has no 'Nobody2020' for cifar10 and Linf"),
        ("robustbench/Digits2020:threat=L2", "RobustBench has no 'Digits2020' for cifar10 and L2"),
        ("robustbench/Digits2020:threat=L7", "'L7' is not one of Linf, L2, corruptions"),
        ("robustbench/Digits2020:normalize=half", "normalise by themselves"),
        ("robustbench/Digits2020:name=other", "leave out name=other"),
        ("robustbench/", "RobustBench has no ''"),
        ("roboustbench/Digits2020", "roboustbench/Digits2020 does not exist"),
    ],
)
def test_what_robustbench_has_not_is_one_line(
    text: str, message: str, robustbench: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, _, err = run(["--checkpoint", f"w={text}", *FAST, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
