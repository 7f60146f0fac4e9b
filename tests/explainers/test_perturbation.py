"""Explainers that mask parts of the image: what they claim beyond the contract of explainers."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.explainers.base import Explainer
from attrobust.explainers.feature_ablation import FeatureAblation
from attrobust.explainers.kernel_shap import KernelShap, coalitions
from attrobust.explainers.lime import Lime
from attrobust.explainers.occlusion import Occlusion
from attrobust.explainers.shapley_sampling import ShapleySampling
from attrobust.explainers.shared import least_squares
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.explainers.shared.masking import first_occurrences
from attrobust.maps import segments
from attrobust.networks.passes import counted

from helpers import stock_perturbation as stock

SUPERPIXELS = ["slic", "felzenszwalb", "quickshift"]
ALL = [Occlusion, FeatureAblation, ShapleySampling, KernelShap, Lime]
SEGMENTED = [FeatureAblation, ShapleySampling, KernelShap, Lime]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def few(make: type[Explainer]) -> dict[str, int]:
    """Settings with fewer samples than the default, where the claim does not hang on them."""
    return {ShapleySampling: {"samples": 2}, KernelShap: {"samples": 60}, Lime: {"samples": 60}}.get(make, {})


class Tiny(nn.Module):
    """A network of few, smooth, strongly interacting units, for images of any size."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        draw = generator(3)
        self.weight = torch.randn(8, channels, 3, 3, generator=draw, dtype=torch.float64)
        self.last = torch.randn(5, 8, generator=draw, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.softplus(nn.functional.conv2d(x, self.weight.to(x), padding=1), beta=3)
        return hidden.mean(dim=(2, 3)).square() @ self.last.to(x).T


@pytest.fixture
def tiny() -> nn.Module:
    return Tiny().eval()


@pytest.fixture
def case(real_images: tuple[Tensor, Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """A trained network and three digits in float64, and the predicted classes."""
    model, x = copy.deepcopy(load("digits/natural")).double(), real_images[0][:3].double()
    return model, x, model(x).argmax(dim=1)


def logits(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    return model(x).detach().gather(1, target[:, None]).squeeze(1)


def per_segment(maps: Tensor, labels: Tensor) -> list[list[float]]:
    """The value of every segment of every image, having checked that all its pixels and channels have it."""
    found = []
    for image, places in zip(maps, labels.expand(len(maps), -1, -1), strict=True):
        values = [image[:, places == number] for number in range(int(places.max()) + 1)]
        assert all((value == value.flatten()[0]).all() for value in values)
        found.append([float(value.flatten()[0]) for value in values])
    return found


def exact_shapley(model: nn.Module, image: Tensor, target: Tensor, labels: Tensor, baseline: float) -> list[float]:
    """The definition: a weighted sum over all coalitions, one forward pass each."""
    count = int(labels.max()) + 1

    def worth(coalition: frozenset[int]) -> float:
        mask = torch.zeros_like(labels, dtype=torch.bool)
        for segment in coalition:
            mask |= labels == segment
        return float(logits(model, torch.where(mask, image, baseline)[None], target[None]))

    known = {
        frozenset(some): worth(frozenset(some))
        for size in range(count + 1)
        for some in itertools.combinations(range(count), size)
    }
    return [
        sum(
            math.factorial(len(some)) * math.factorial(count - len(some) - 1) / math.factorial(count)
            * (known[some | {segment}] - known[some])
            for some in known
            if segment not in some
        )
        for segment in range(count)
    ]  # fmt: skip


# --- values


@pytest.mark.parametrize("kind", SUPERPIXELS)
@pytest.mark.parametrize(
    ("kind_of_explainer", "captum", "settings"),
    [
        (FeatureAblation, stock.feature_ablation, {}),
        (ShapleySampling, stock.shapley_sampling, {"samples": 2}),
        (KernelShap, stock.kernel_shap, {"samples": 100}),
        (Lime, stock.lime, {"samples": 60}),
    ],
)
def test_with_superpixels_values_are_those_of_captum_image_by_image(
    case: tuple[nn.Module, Tensor, Tensor], kind: Any, kind_of_explainer: Any, captum: Any, settings: dict[str, int]
) -> None:
    model, x, target = case
    masks = segments.find(x, kind, 4)[:, None]
    assert len(set(masks.flatten(1).amax(dim=1).tolist())) > 1
    wanted = captum(model, x, target, generator(), masks=masks, **settings)
    found = kind_of_explainer(segments=kind, **settings)(model, x, target, generator=generator())
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


def test_more_superpixels_than_samples_give_captums_shortest_solution(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, target = case
    masks = segments.find(x, "quickshift", 4)[:, None]
    assert masks.amax() + 1 > 50
    wanted = stock.kernel_shap(model, x, target, generator(), samples=50, masks=masks)
    found = KernelShap(segments="quickshift", samples=50)(model, x, target, generator=generator())
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (5, 5), (4, 3), (3, 2), (28, 28), (27, 9)])
def test_windows_at_the_border_are_cut_off_as_in_captum(
    case: tuple[nn.Module, Tensor, Tensor], window: int, stride: int
) -> None:
    model, x, target = case
    x, target = x[:1], target[:1]
    wanted = stock.occlusion(model, x, target, generator(), window, stride)
    found = Occlusion(window=window, stride=stride)(model, x, target)
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("make", ALL)
def test_images_need_not_be_square_and_channels_share_their_value(make: type[Explainer]) -> None:
    model, x = Tiny(3).eval(), torch.rand(2, 3, 9, 14, generator=generator(), dtype=torch.float64)
    target = torch.tensor([1, 4])
    found = make()(model, x, target, generator=generator())
    name = {Occlusion: "occlusion", FeatureAblation: "feature-ablation", ShapleySampling: "shapley-sampling"}.get(
        make, "kernel-shap" if make is KernelShap else "lime"
    )
    wanted = stock.STOCK[name](model, x, target, generator())
    assert found.shape == x.shape
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("make", ALL)
def test_pixels_that_have_the_baselines_grey_already_change_nothing(
    case: tuple[nn.Module, Tensor, Tensor], make: Any
) -> None:
    model, x, target = case
    grey = torch.full_like(x, 0.25)
    assert make(baseline=0.25, **few(make))(model, grey, target).abs().max() <= 1e-9
    assert make(**few(make))(model, grey, target).abs().max() > 1e-3


# --- Shapley values


@pytest.mark.parametrize("kind", ["grid", *SUPERPIXELS])
@pytest.mark.parametrize("make", [ShapleySampling, KernelShap])
def test_shapley_values_are_complete(case: tuple[nn.Module, Tensor, Tensor], make: Any, kind: Any) -> None:
    model, x, target = case
    maps = make(segments=kind, baseline=0.5, **few(make))(model, x, target, generator=generator())
    sums = torch.tensor([sum(row) for row in per_segment(maps, segments.find(x, kind, 4))], dtype=torch.float64)
    wanted = logits(model, x, target) - logits(model, torch.full_like(x, 0.5), target)
    # Kernel SHAP asks for completeness with a weight of 1e6 and not with certainty.
    assert (sums - wanted).abs().max() <= (1e-12 if make is ShapleySampling else 1e-5) * maps.abs().max() * x[0].numel()


def test_all_permutations_give_the_exact_shapley_values(tiny: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    x, target = torch.rand(2, 1, 8, 8, generator=generator(), dtype=torch.float64), torch.tensor([0, 3])
    every = torch.tensor(list(itertools.permutations([0.1, 0.2, 0.3, 0.4])), dtype=torch.float64)[None]
    monkeypatch.setattr("attrobust.explainers.shapley_sampling.draw", lambda *_: every)
    labels = segments.grid(8, 8, 4)
    found = per_segment(ShapleySampling(samples=24, baseline=0.3)(tiny, x, target), labels[None])
    for image, label, values in zip(x, target, found, strict=True):
        wanted = exact_shapley(tiny, image, label, labels, 0.3)
        assert values == pytest.approx(wanted, rel=1e-10)


def test_the_shapley_kernel_over_all_coalitions_gives_the_exact_shapley_values(tiny: nn.Module) -> None:
    x, target = torch.rand(1, 1, 8, 8, generator=generator(), dtype=torch.float64), torch.tensor([3])
    labels = segments.grid(8, 8, 4)
    kept = torch.tensor(list(itertools.product([False, True], repeat=4)))[None]
    sizes = kept.sum(dim=2).tolist()[0]
    weight = torch.tensor([3 / (math.comb(4, k) * k * (4 - k)) if 0 < k < 4 else 1e9 for k in sizes])[None].double()
    values = FeatureAblation().values(tiny, x, target, labels[None], kept, create_graph=False)
    wanted = exact_shapley(tiny, x[0], target[0], labels, 0.0)
    assert least_squares.fit(kept, weight, values)[0].tolist() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("make", [ShapleySampling, KernelShap])
def test_many_samples_come_close_to_the_exact_shapley_values(tiny: nn.Module, make: Any) -> None:
    x, target = torch.rand(1, 1, 8, 8, generator=generator(), dtype=torch.float64), torch.tensor([3])
    labels = segments.grid(8, 8, 4)
    wanted = torch.tensor(exact_shapley(tiny, x[0], target[0], labels, 0.0))
    errors = []
    for samples in (60, 6000):
        runs = [make(samples=samples)(tiny, x, target, generator=generator(seed)) for seed in range(8)]
        found = torch.tensor([per_segment(maps, labels[None])[0] for maps in runs])
        errors.append(float((found - wanted).square().mean().sqrt() / wanted.abs().max()))
    # A hundred times the samples, a tenth of the error, up to the luck of eight runs.
    assert errors[1] <= 0.01
    assert errors[1] <= errors[0] / 5


def test_coalitions_have_the_sizes_of_the_shapley_kernel_and_are_uniform_otherwise() -> None:
    labels = torch.stack([segments.grid(8, 8, 4), segments.grid(8, 8, 3)])
    kept = coalitions(labels, 20_002, generator())
    assert kept.shape == (2, 20_002, 9)
    for image, count in zip(kept, (4, 9), strict=True):
        assert not image[:, count:].any()
        assert image[0, :count].all()
        assert not image[1].any()
        drawn = image[2:, :count].double()
        chances = torch.tensor([1 / (size * (count - size)) for size in range(1, count)])
        seen = torch.bincount(drawn.sum(dim=1).long(), minlength=count + 1)
        assert seen[0] == seen[count] == 0
        # 20,000 draws: the share of a size or of a segment has a standard deviation of at most 0.0036.
        assert ((seen[1:count] / 20_000) - chances / chances.sum()).abs().max() <= 0.015
        assert (drawn.mean(dim=0) - 0.5).abs().max() <= 0.015
        alone = drawn[drawn.sum(dim=1) == 1].mean(dim=0)
        assert (alone - 1 / count).abs().max() <= 0.03


# --- least squares


def test_too_few_coalitions_give_the_shortest_of_the_solutions() -> None:
    draw = generator()
    kept = torch.rand(3, 6, 10, generator=draw) < 0.5
    kept[:, :, 7] = False
    values = torch.randn(3, 6, generator=draw, dtype=torch.float64)
    weight = torch.rand(3, 6, generator=draw, dtype=torch.float64) + 0.1
    found = least_squares.fit(kept, weight, values)
    for z, w, v, coefficients in zip(kept.double().numpy(), weight.numpy(), values.numpy(), found.numpy(), strict=True):
        from sklearn.linear_model import LinearRegression

        wanted = LinearRegression().fit(z, v, sample_weight=w)
        assert coefficients == pytest.approx(wanted.coef_, abs=1e-9)
        assert coefficients[7] == pytest.approx(0, abs=1e-12)
        assert z @ coefficients + wanted.intercept_ == pytest.approx(v, abs=1e-9)


def test_the_ridge_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    draw = generator()
    kept = torch.rand(1, 30, 10, generator=draw) < 0.5
    values = torch.randn(1, 30, generator=draw, dtype=torch.float64)
    weight = torch.rand(1, 30, generator=draw, dtype=torch.float64)
    wanted = Ridge(alpha=0.7).fit(kept[0].numpy(), values[0].numpy(), sample_weight=weight[0].numpy()).coef_
    assert least_squares.fit(kept, weight, values, ridge=0.7)[0].numpy() == pytest.approx(wanted, rel=1e-9)


def test_coalitions_that_are_all_alike_say_nothing() -> None:
    kept = torch.ones(1, 5, 3, dtype=torch.bool)
    assert torch.equal(least_squares.fit(kept, torch.ones(1, 5).double(), torch.rand(1, 5).double()), torch.zeros(1, 3))


# --- rows


@pytest.mark.parametrize("make", SEGMENTED)
@pytest.mark.parametrize("kind", ["grid", *SUPERPIXELS])
def test_a_map_does_not_depend_on_the_batch(case: tuple[nn.Module, Tensor, Tensor], make: Any, kind: Any) -> None:
    model, x, target = case
    explainer = make(segments=kind, **few(make))
    # A flat image has few superpixels, down to one, and most of its place in the batch is padding.
    x, target = torch.cat([x, torch.full_like(x[:1], 0.7)]), torch.cat([target, target[:1]])
    together = explainer(model, x, target, generator=generator())
    for i in range(len(x)):
        alone = explainer(model, x[i : i + 1], target[i : i + 1], generator=generator())
        assert (alone[0] - together[i]).abs().max() <= 1e-9 * together[i].abs().max()


@pytest.mark.parametrize("make", ALL)
def test_a_map_does_not_depend_on_the_chunks(case: tuple[nn.Module, Tensor, Tensor], make: Any) -> None:
    model, x, target = case
    x, target = x[:2], target[:2]
    explainer = make(**few(make))

    def found() -> tuple[Tensor, Tensor]:
        attached = x.clone().requires_grad_()
        maps = explainer(model, attached, target, create_graph=True, generator=generator())
        weights = torch.randn(maps.shape, generator=generator(1), dtype=torch.float64)
        return maps.detach(), torch.autograd.grad((weights * maps).sum(), attached)[0]

    maps, gradient = found()
    with memory_budget(1):
        single, single_gradient = found()
        detached = explainer(model, x, target, generator=generator())
    assert gradient.abs().max() > 0
    assert (maps - single).abs().max() <= 1e-9 * maps.abs().max()
    assert (maps - detached).abs().max() <= 1e-9 * maps.abs().max()
    assert (gradient - single_gradient).abs().max() <= 1e-9 * gradient.abs().max()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("make", ALL)
def test_a_logit_that_is_not_finite_spoils_its_own_row_only(
    case: tuple[nn.Module, Tensor, Tensor], make: Any, value: float
) -> None:
    model, x, target = case
    x = x.clone()
    x[1, 0, 0, 0] = 0.123

    class ClaimError(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            hit = (images[:, 0, 0, 0] == 0.123)[:, None]
            return model(images).masked_fill(hit, value)

    explainer = make(**few(make))
    maps = explainer(ClaimError().eval(), x, target, generator=generator())
    assert maps[1].isnan().all()
    wanted = explainer(model, x[[0, 2]], target[[0, 2]], generator=generator())
    assert (maps[[0, 2]] - wanted).abs().max() <= 1e-9 * wanted.abs().max()


# --- superpixels


@pytest.mark.parametrize("kind", SUPERPIXELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_superpixels_are_numbered_without_gaps_and_differ_per_image(
    real_images: tuple[Tensor, Tensor], kind: Any, channels: int
) -> None:
    x = real_images[0].expand(-1, channels, -1, -1)
    state = torch.random.get_rng_state()
    labels = segments.find(x, kind, 4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert labels.shape == (12, 28, 28)
    for places, count in zip(labels, segments.counts(labels).tolist(), strict=True):
        assert places.unique().tolist() == list(range(count))
        # About 4×4 pixels: between half and twice the side.
        assert 28 * 28 / (4 * 16) <= count <= 28 * 28 / (16 / 4)
    assert len({tuple(places.flatten().tolist()) for places in labels}) == 12
    assert torch.equal(labels, segments.find(x.double(), kind, 4))
    assert torch.equal(labels[3:4], segments.find(x[3:4], kind, 4))


@pytest.mark.parametrize("make", SEGMENTED)
@pytest.mark.parametrize("kind", SUPERPIXELS)
def test_flat_images_have_finite_maps(tiny: nn.Module, make: Any, kind: Any) -> None:
    maps = make(segments=kind)(tiny, torch.full((2, 1, 28, 28), 0.5), torch.tensor([0, 1]), generator=generator())
    assert maps.isfinite().all()


@pytest.mark.parametrize("make", SEGMENTED)
def test_squares_as_large_as_the_image_are_refused(case: tuple[nn.Module, Tensor, Tensor], make: Any) -> None:
    with pytest.raises(ValueError, match="size=28 makes a single segment of 28×28 images"):
        make(size=28)(*case)


@pytest.mark.parametrize("make", [KernelShap, Lime])
def test_coalitions_are_more_than_segments(case: tuple[nn.Module, Tensor, Tensor], make: Any) -> None:
    with pytest.raises(ValueError, match="samples=49 cannot determine 49 segments of size=4; raise samples to 50"):
        make(samples=49)(*case)


@pytest.mark.parametrize("make", [Occlusion, FeatureAblation, ShapleySampling])
def test_what_changes_nothing_has_exactly_no_value_whatever_the_batch(
    case: tuple[nn.Module, Tensor, Tensor], make: Any
) -> None:
    """A black square on black is worth nothing; ranks of what rounding leaves would depend on the batch."""
    model, x, target = (copy.deepcopy(case[0]).double(), case[1].double(), case[2])
    together = make()(model, x, target, generator=generator())
    alone = torch.cat([make()(model, x[i : i + 1], target[i : i + 1], generator=generator()) for i in range(len(x))])
    assert torch.equal(together == 0, alone == 0)
    assert (together == 0).any()


def test_superpixels_are_not_differentiable_and_squares_are(tiny: nn.Module) -> None:
    x, target = torch.rand(1, 1, 8, 8).requires_grad_(), torch.tensor([0])
    for make in SEGMENTED:
        assert make().differentiable
        explainer = make(segments="slic")
        assert not explainer.differentiable
        with pytest.raises(ValueError, match="not differentiable"):
            explainer(tiny, x, target, create_graph=True)


# --- derivatives


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_the_derivative_agrees_with_finite_differences(tiny: nn.Module, make: Any, budget: int) -> None:
    draw = generator(1)
    x = 0.1 + 0.8 * torch.rand(2, 1, 8, 6, generator=draw, dtype=torch.float64)
    weights = torch.randn(x.shape, generator=draw, dtype=torch.float64)
    target = torch.tensor([2, 0])
    explainer = make(**({"size": 2} if make in SEGMENTED else {}))

    def value(images: Tensor, *, create_graph: bool = False) -> Tensor:
        maps = explainer(tiny, images, target, create_graph=create_graph, generator=generator())
        return (maps * weights).sum()

    attached = x.clone().requires_grad_()
    with memory_budget(budget):
        (gradient,) = torch.autograd.grad(value(attached, create_graph=True), attached)
    step = 1e-5
    for index in range(0, x.numel(), 7):
        shift = torch.zeros(x.numel(), dtype=torch.float64)
        shift[index] = step
        wanted = (value(x + shift.view_as(x)) - value(x - shift.view_as(x))) / (2 * step)
        assert abs(float(gradient.flatten()[index] - wanted)) <= 1e-5 * float(gradient.abs().max())


# --- errors


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (Occlusion, {"window": 0}, "window=0 must be at least 1"),
        (Occlusion, {"stride": 0}, "stride=0 must be between 1 and window=4"),
        (Occlusion, {"stride": 5}, "stride=5 must be between 1 and window=4"),
        (Occlusion, {"baseline": 1.5}, "baseline=1.5 must be a grey level"),
        *((make, {"baseline": float("nan")}, "baseline=nan must be a grey level") for make in SEGMENTED),
        *((make, {"size": 0}, "size=0 must be at least 1") for make in SEGMENTED),
        *((make, {"segments": "voronoi"}, "segments=voronoi must be one of grid, slic") for make in SEGMENTED),
        (ShapleySampling, {"samples": 0}, "samples=0 must be at least 1"),
        (KernelShap, {"samples": 2}, "samples=2 must be at least 3"),
        (Lime, {"samples": 1}, "samples=1 must be at least 2"),
        (Lime, {"width": 0.0}, "width=0 must be above 0"),
        (Lime, {"width": float("nan")}, "width=nan must be above 0"),
        (Lime, {"ridge": 0.0}, "ridge=0 must be above 0"),
        (Lime, {"ridge": float("inf")}, "ridge=inf must be above 0"),
    ],
)
def test_settings_are_checked_at_once(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make(**settings)
    assert "\n" not in str(caught.value)


def test_what_the_images_do_not_allow_is_said_before_anything_is_computed() -> None:
    class Untouched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("computed something")

    model, x, target = Untouched().eval(), torch.rand(1, 2, 28, 28), torch.tensor([0])
    with pytest.raises(ValueError, match="window=29 is larger than the images, 28×28"):
        Occlusion(window=29)(model, x, target)
    with pytest.raises(ValueError, match="samples=49 cannot determine 49 segments of size=4; raise samples to 50"):
        KernelShap(samples=49)(model, x, target)
    with pytest.raises(ValueError, match="needs images with 1 or 3 channels, not 2"):
        FeatureAblation(segments="slic")(model, x, target)


@pytest.mark.parametrize("make", [ShapleySampling, KernelShap, Lime])
def test_a_coalition_that_is_drawn_again_is_not_evaluated_again(
    make: type[Explainer], case: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, x, target = case
    explainer: Any = make(size=x.shape[2] // 2, **few(make))
    with counted(model) as passes:
        explainer(model, x, target)
    assert passes.forward <= 2**4 * len(x)


def test_first_occurrences_are_in_their_order() -> None:
    kept = torch.tensor([[[1, 1], [0, 1], [1, 1], [0, 0], [0, 1]]], dtype=torch.bool)
    first, place = first_occurrences(kept)
    assert first.tolist() == [0, 1, 3]
    assert torch.equal(kept[:, first][:, place], kept)
    # Different for one of two images, so that neither may be left out.
    both = torch.cat([kept, torch.eye(5, dtype=torch.bool)[None, :, :2]])
    assert first_occurrences(both)[0].tolist() == [0, 1, 2, 3, 4]
