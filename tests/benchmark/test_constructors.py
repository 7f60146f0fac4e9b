"""Networks of torchvision and timm with settings of their constructors, for images of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from attrobust import UsageError
from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint, parse_external
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.constructors import constructor_settings
from attrobust.naming.component import resolve_one
from attrobust.naming.spec import Spec, settings_of
from attrobust.types import ImageFacts

MEAN, STD = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)


def facts(size: int, classes: int = 10) -> ImageFacts:
    return ImageFacts(channels=3, size=size, classes=classes, mean=(0.5,) * 3, std=(0.25,) * 3)


def photos(size: int) -> Tensor:
    """Two real photographs, in [0, 1]."""
    pictures = [pil_to_tensor(to_pil_image(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")]
    return F.interpolate(torch.stack(pictures).float() / 255, size=(size, size), mode="bilinear", antialias=True)


def external(source: str) -> ExternalCheckpoint:
    return parse_external(f"mine={source}", resolve_one(models.registry, "lenet", ModelFamily))


def family(text: str) -> ModelFamily:
    item: ModelFamily = resolve_one(models.registry, text, ModelFamily).item
    return item


def test_settings_of_a_constructor_are_typed_as_settings_of_the_model() -> None:
    item = family("torchvision:name=resnet18,zero_init_residual=true,width_per_group=32,normalize=imagenet")
    assert settings_of(item)["extra"] == "width_per_group=32,zero_init_residual=true"
    again = family(str(Spec("torchvision", {"name": "resnet18"})))
    assert settings_of(again)["extra"] == ""
    stored = {key: str(value) for key, value in settings_of(item).items()}
    from attrobust.naming.component import resolve

    (same,) = resolve(models.registry, [Spec("torchvision", stored)], ModelFamily)
    assert same.item == item, "what is stored in rows builds the same network"
    assert constructor_settings("a=true,b=3,c=0.5,d=none,e=avg") == {"a": True, "b": 3, "c": 0.5, "d": None, "e": "avg"}


def test_a_setting_decides_the_network() -> None:
    network = family("torchvision:name=resnet50,width_per_group=128").build(facts(64))
    wanted = torchvision.models.wide_resnet50_2(weights=None, num_classes=10)
    assert [p.shape for p in network.parameters()] == [p.shape for p in wanted.parameters()]


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        ("torchvision:name=resnet18,depth=3", 64, "resnet18 cannot be built with .*depth=3.*unexpected keyword"),
        ("torchvision:name=vit_b_16", 60, "vit_b_16 cannot be built with image_size=60.*indivisible by patch size"),
    ],
)
def test_what_a_network_cannot_be_built_with_is_one_line(text: str, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        family(text).build(facts(size))
    assert "\n" not in str(caught.value)


def test_a_transformer_takes_the_size_of_the_images_and_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.vit_b_32(weights=None, num_classes=10, image_size=64).eval()
    nn.init.normal_(theirs.heads.head.weight)
    torch.save(theirs.state_dict(), tmp_path / "vit.pt")
    source = f"{tmp_path / 'vit.pt'}:torchvision:name=vit_b_32,normalize=imagenet"
    network, _ = external(source).open(facts(64))
    x = photos(64)
    wanted = theirs((x - MEAN) / STD)
    assert (network(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    with pytest.raises(UsageError, match=r"pos_embedding' has shape 1×5×768, the model needs 1×10×768 .*--image-size"):
        external(source).open(facts(96))


def with_statistics(network: nn.Module, x: Tensor) -> None:
    """Evaluating, with statistics of images in its normalisation layers, so that outputs depend on the image."""
    network.eval()
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        layer.train().momentum = None
    with torch.no_grad():
        network(x)
    network.eval()


@pytest.mark.parametrize(
    ("name", "settings"), [("googlenet", {"aux_logits": True}), ("inception_v3", {"aux_logits": True})]
)
def test_networks_with_auxiliary_classifiers_are_evaluated_without_them(
    name: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, init_weights=False, transform_input=True, **settings)
    x = photos(96)
    with_statistics(theirs, (x - MEAN) / STD)
    wanted = theirs((x - MEAN) / STD)
    assert (wanted[0] - wanted[1]).abs().max() > 0.1 * wanted.abs().max()
    assert any("aux" in key.lower() for key in theirs.state_dict())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    file = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save({f"module.{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "mine.pt")
    torch.save(theirs.state_dict(), file)
    files = f"{tmp_path / 'mine.pt'}:torchvision:name={name},transform_input=true,normalize=imagenet"
    for source in (files, f"torchvision/{name}"):
        network, _ = external(source).open(facts(96, classes=1000))
        assert (network(x) - wanted).abs().max() <= 1e-4 * wanted.abs().max()
        assert not any("aux" in key.lower() for key in network.state_dict())
    plain, _ = external(files.replace("transform_input=true,", "")).open(facts(96, classes=1000))
    assert (plain(x) - wanted).abs().max() > 1e-3 * wanted.abs().max()


def test_timms_transformers_take_the_size_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=10, global_pool="avg").eval()
    nn.init.normal_(theirs.head.weight)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "vit.pt")
    model = "timm:name=vit_tiny_patch16_224,global_pool=avg,normalize=imagenet"
    network, _ = external(f"{tmp_path / 'vit.pt'}:{model}").open(facts(64))
    x = photos(64)
    wanted = theirs((x - MEAN) / STD)
    assert (network(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    with pytest.raises(ValueError, match=r"resnet18 cannot be built with .*depth=3"):
        family("timm:name=resnet18,depth=3").build(facts(64))


def test_timms_weights_are_fitted_to_the_size_of_the_images_as_timm_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "vit.pt")
    create = timm.create_model

    def local(name: str, *, pretrained: bool = False, **settings: Any) -> nn.Module:
        extra = {"pretrained_cfg_overlay": {"file": str(tmp_path / "vit.pt")}} if pretrained else {}
        network: nn.Module = create(name, pretrained=pretrained, **extra, **settings)
        return network

    monkeypatch.setattr(timm, "create_model", local)
    network, _ = external(f"timm/{name}").open(facts(96, classes=1000))
    x = photos(96)
    wanted = local(name, pretrained=True, img_size=96).eval()((x - 0.5) / 0.5)
    assert (network(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
