"""Tensors that are no images are refused wherever images enter, and points near the box may still be explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attrobust import Context, load
from attrobust.attacks.base import Attack
from attrobust.attacks.topk import TopK
from attrobust.benchmark.evaluation.inputs import Images
from attrobust.explainers import base
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.uniform_gradient import UniformGradient
from attrobust.images import check_pixels, pixels_trusted

from helpers.cases import MakeCase, case_of

Images_ = tuple[Tensor, Tensor]
NO_IMAGES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "normalised": (lambda x: (x - 0.306) / 0.324, r"in \[0, 1\], and has pixels from -0.944\d+ to 2.14\d+"),
    "8-bit levels": (lambda x: 255 * x, r"in \[0, 1\], and has pixels from 0 to 255"),
    "bytes": (
        lambda x: (255 * x).to(torch.uint8),
        "floats of 16 bits or more, not torch.uint8.*divide 8-bit pixels by 255",
    ),
    "8-bit floats": (lambda x: x.to(torch.float8_e4m3fn), "floats of 16 bits or more, not torch.float8_e4m3fn"),
    "without values": (lambda x: x.to("meta"), "ordinary tensor.* is on the device meta"),
    "sparse": (lambda x: x.to_sparse(), "ordinary tensor.* is stored as sparse_coo"),
    "quantised": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), "ordinary tensor.* is quantised"),
    "one image": (lambda x: x[0], "B×C×H×W, not 1×28×28"),
    "not finite": (lambda x: x.index_fill(3, torch.tensor([3]), float("nan")), "NaN or infinite"),
    "infinite": (lambda x: x.index_fill(3, torch.tensor([3]), float("inf")), "NaN or infinite"),
}
kinds = pytest.mark.parametrize(("spoil", "message"), NO_IMAGES.values(), ids=NO_IMAGES)


@kinds
def test_an_attack_refuses_what_is_no_image(
    real_images: Images_, make_context: Callable[..., Context], spoil: Callable[[Tensor], Tensor], message: str
) -> None:
    x, model = real_images[0][:3], load("digits/natural")
    context = make_context(model, Saliency(), x)
    y = context.predict(x)
    with pytest.raises(ValueError, match=f"^images must be .*{message}"):
        TopK(steps=1)(context, spoil(x), y)
    with pytest.raises(ValueError, match=f"^partners must be .*{message}"):
        TopK(steps=1)(replace(context, partners=spoil(x)), x, y)


@kinds
def test_scored_images_and_cases_are_images(
    real_images: Images_, network: nn.Module, spoil: Callable[[Tensor], Tensor], message: str
) -> None:
    x, y = real_images
    for images in ({"x": spoil(x), "partners": x}, {"x": x, "partners": spoil(x)}):
        with pytest.raises(ValueError, match=message):
            Images(y=y, **images)
    with pytest.raises(ValueError, match=message):
        case_of(network, spoil(x), y)


def test_an_attacked_image_of_a_case_is_an_image(make_case: MakeCase) -> None:
    case = make_case()
    with pytest.raises(ValueError, match="attacked images must be in"):
        replace(case, attacked=case.attacked + 0.5)


def test_classes_partners_and_masks_of_scored_images_fit_them(real_images: Images_) -> None:
    x, y = real_images
    fitting = Images(x=x, y=y, partners=x, masks=x[:, 0] > 0.5)
    for changes, message in (
        ({"y": y[1:]}, "classes must be int64, one for each of 12 images, not torch.int64 11"),
        ({"y": y.float()}, "classes must be int64"),
        ({"partners": x[1:]}, "partners are 11×1×28×28, the images 12×1×28×28"),
        ({"masks": x > 0.5}, "masks must be bool 12×28×28, not torch.bool 12×1×28×28"),
        ({"masks": x[:, 0]}, "masks must be bool 12×28×28, not torch.float32"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(fitting, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["normalised", "8-bit levels", "bytes", "one image"])
def test_explanations_and_certificates_refuse_what_is_no_image(real_images: Images_, kind: str) -> None:
    spoil, message = NO_IMAGES[kind]
    x, target, model = real_images[0][:2], torch.zeros(2, dtype=torch.int64), load("digits/natural")
    with pytest.raises(ValueError, match=message):
        Saliency()(model, spoil(x), target)
    with pytest.raises(ValueError, match=message):
        UniformGradient(unit=True).certify(model, spoil(x), target, radius=0.1)


def test_points_of_a_ball_around_an_image_are_explained_and_those_beyond_rounding_are_no_image(
    real_images: Images_,
) -> None:
    x = real_images[0][:2]
    for outside in (x - 0.2, x + 1.0):
        maps = Saliency()(load("digits/natural"), outside, torch.zeros(2, dtype=torch.int64))
        assert maps.isfinite().all()
        with pytest.raises(ValueError, match="in \\[0, 1\\]"):
            check_pixels(outside, "images")
    check_pixels(x + 5e-7, "images")
    check_pixels(x[:0], "images")


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_images_of_another_type_than_the_weights_are_refused(
    real_images: Images_, make_context: Callable[..., Context], kind: torch.dtype
) -> None:
    x, model = real_images[0][:2], load("digits/natural")
    context = make_context(model, Saliency(), x)
    y = context.predict(x)
    message = rf"images are {kind}, and the network's weights torch\.float32; turn one into the other"
    with pytest.raises(ValueError, match=message):
        TopK(steps=1)(context, x.to(kind), y)
    with pytest.raises(ValueError, match=message):
        Saliency()(model, x.to(kind), y)


def test_no_step_of_an_attack_of_ours_looks_at_pixels(
    real_images: Images_, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, model = real_images[0][:2], load("digits/natural")
    context = make_context(model, Saliency(), x)
    y = context.predict(x)
    wanted = TopK(steps=2)(context, x, y).x
    monkeypatch.setattr(base, "check_pixels", lambda *_, **__: pytest.fail("looked at"))
    assert torch.equal(TopK(steps=2)(context, x, y).x, wanted)


def test_a_plug_in_attack_explains_no_image_far_outside(
    real_images: Images_, make_context: Callable[..., Context]
) -> None:
    class Far(Attack):
        def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
            context.maps(x + 3, y)
            return x

    x = real_images[0][:2]
    context = make_context(load("digits/natural"), Saliency(), x)
    with pixels_trusted(True), pytest.raises(ValueError, match="images must be in"):
        Far()(context, x, context.predict(x))
    with pytest.raises(ValueError, match="images must be in"):
        Saliency()(context.model, x + 3, torch.zeros(2, dtype=torch.int64))


def test_a_trusted_image_that_is_not_finite_has_a_map_of_nan_all_the_same(real_images: Images_) -> None:
    x, model, target = real_images[0][:3].clone(), load("digits/natural"), torch.zeros(3, dtype=torch.int64)
    wanted = Saliency()(model, x, target)
    x[1, 0, 3, 3] = float("nan")
    with pixels_trusted(True):
        maps = Saliency()(model, x, target)
    assert maps[1].isnan().all()
    assert torch.equal(maps[::2], wanted[::2])
