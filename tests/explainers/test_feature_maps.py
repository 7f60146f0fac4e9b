"""Grad-CAM knows where channels, height and width lie, or asks for a layer; it never takes heads for channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from attrobust.explainers.gradcam import GradCam, GuidedGradCam
from attrobust.explainers.shared.layers import Outputs

SIDE = 64


def images(digits: Tensor, side: int = SIDE) -> Tensor:
    """Two real digits, enlarged and in three channels."""
    return F.interpolate(digits[:2].double(), size=(side, side), mode="bilinear").expand(-1, 3, -1, -1).contiguous()


def vit() -> nn.Module:
    torch.manual_seed(0)
    network = models.VisionTransformer(
        image_size=SIDE, patch_size=16, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=32, num_classes=5
    )
    nn.init.normal_(network.heads.head.weight)
    return network.double().eval()


def swin() -> nn.Module:
    torch.manual_seed(0)
    return (
        models.SwinTransformer(
            patch_size=[4, 4], embed_dim=12, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=5
        )
        .double()
        .eval()
    )


def convnext() -> nn.Module:
    torch.manual_seed(0)
    settings = [models.convnext.CNBlockConfig(8, 12, 1), models.convnext.CNBlockConfig(12, None, 1)]
    return models.ConvNeXt(settings, num_classes=5).double().eval()


def plain_cam(maps: Tensor, gradient: Tensor, size: int) -> Tensor:
    """Equation 2 of the paper from B×C×h×w, with the ReLU, upsampled: float[B, size, size]."""
    weights = gradient.mean(dim=(2, 3))
    coarse = torch.einsum("bc,bchw->bhw", weights, maps).relu()
    return F.interpolate(coarse[:, None], size=(size, size), mode="bilinear")[:, 0]


def test_tokens_are_put_back_on_their_grid(real_images: tuple[Tensor, Tensor]) -> None:
    network, x = vit(), images(real_images[0])
    target = torch.tensor([1, 3])
    name = "encoder.layers.encoder_layer_2.ln_1"
    kept: list[Tensor] = []
    handle = network.get_submodule(name).register_forward_hook(lambda *parts: kept.append(parts[2]))
    logits = network(x.requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept[0])
    by_hand = [torch.stack([t[:, 1 + row * 4 : 5 + row * 4] for row in range(4)], dim=1) for t in (kept[0], gradient)]
    maps, slopes = (t.permute(0, 3, 1, 2).detach() for t in by_hand)
    cam = GradCam(layer=name)(network, x.detach(), target).sum(dim=1)
    assert cam.abs().max() > 1e-6
    assert torch.allclose(cam, plain_cam(maps, slopes, SIDE), atol=1e-10)


def test_of_tokens_a_layer_must_be_named_and_one_that_works_is(real_images: tuple[Tensor, Tensor]) -> None:
    network, x = vit(), images(real_images[0])
    with pytest.raises(ValueError, match=r"with tokens.*layer=encoder\.layers\.encoder_layer_2\.ln_1") as found:
        GradCam()(network, x, torch.tensor([1, 3]))
    named = str(found.value).rsplit("layer=", 1)[1]
    assert GradCam(layer=named)(network, x, torch.tensor([1, 3])).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("heads.head", "output of 5"),
        ("encoder.layers.encoder_layer_1.self_attention", "is no map of the image|is never called|is no tensor"),
        ("encoder.layers.encoder_layer_9", "has no layer"),
    ],
)
def test_what_is_no_map_is_refused(name: str, said: str, real_images: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=said):
        GradCam(layer=name)(vit(), images(real_images[0]), torch.tensor([1, 3]))


def test_channels_last_are_put_first(real_images: tuple[Tensor, Tensor]) -> None:
    network, x = swin(), images(real_images[0])
    target = torch.tensor([1, 3])
    named = Outputs.of(network, x).last()
    assert (named.name, named.layout, named.grid) == ("norm", "channels last", (8, 8))
    kept: list[Tensor] = []
    handle = network.norm.register_forward_hook(lambda *parts: kept.append(parts[2]))  # type: ignore[union-attr]
    logits = network(x.requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept[0])
    maps, slopes = (t.permute(0, 3, 1, 2).detach() for t in (kept[0], gradient))
    assert maps.shape == (2, 24, 8, 8)
    cam = GradCam()(network, x.detach(), target).sum(dim=1)
    assert torch.allclose(cam, plain_cam(maps, slopes, SIDE), atol=1e-10)
    with pytest.raises(ValueError, match="channels before height and width"):
        GuidedGradCam()(network, x.detach(), target)


def test_layers_between_channels_last_and_first_are_told_apart(real_images: tuple[Tensor, Tensor]) -> None:
    network, x = convnext(), images(real_images[0])
    layouts = {item.name: item.layout for item in Outputs.of(network, x).once()}
    block = "features.1.0.block"
    assert layouts[f"{block}.0"] == "channels first"
    assert layouts[f"{block}.2"] == layouts[f"{block}.3"] == layouts[f"{block}.5"] == "channels last"
    assert layouts["features.1.0"] == "channels first"
    assert Outputs.of(network, x).last().name == "features"


def test_heads_and_tokens_are_no_channels_and_pixels(real_images: tuple[Tensor, Tensor]) -> None:
    class Heads(nn.Module):
        """A layer of a network after which there are heads × tokens × tokens, as square as the image."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.scores, self.head = nn.Conv2d(3, 8, 8, 8), nn.Dropout(0.1), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.stem(x).flatten(2).transpose(1, 2)
            scores = self.scores((tokens @ tokens.transpose(1, 2))[:, None].expand(-1, 4, -1, -1))
            attended: Tensor = scores.softmax(dim=3).mean(dim=1) @ tokens
            return self.head(attended.mean(dim=1))  # type: ignore[no-any-return]

    network = Heads().double().eval()
    x = images(real_images[0])
    assert Outputs.of(network, x).last().name == "stem"
    with pytest.raises(ValueError, match="4×64×64, which is no map"):
        GradCam(layer="scores")(network, x, torch.tensor([1, 3]))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "squeezenet1_1", "efficientnet_b0"])
def test_of_usual_networks_it_is_the_last_convolutional_stage(name: str, real_images: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network = models.get_model(name).double().eval()
    x = images(real_images[0])
    named = Outputs.of(network, x).last()
    assert named.layout == "channels first"
    assert named.name.startswith(("layer4", "features", "classifier"))
