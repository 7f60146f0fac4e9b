"""RelEx against the official code's numbers, brute force and finite differences."""

from __future__ import annotations

import copy
import itertools
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from attrobust.explainers.relex import Losses, RelEx, descend, losses, unit_gradient
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.networks.passes import counted
from attrobust.networks.smoothed import Normalize, input_mean, input_scale

from helpers.vectors import tiny_network, vectors

MEAN, STD = (0.2, 0.5, 0.4), (0.5, 1.5, 0.8)


def smooth_network(*, normalised: bool = True) -> nn.Module:
    """Twice differentiable, in float64, for 3×16×16 images."""
    network = tiny_network(vectors("relex"), "S", lambda: nn.Softplus(beta=3))
    return nn.Sequential(Normalize(MEAN, STD), network).double().eval() if normalised else network


def images(count: int = 3) -> tuple[Tensor, Tensor]:
    """Random images of different contrast, in float64, and classes."""
    generator = torch.Generator().manual_seed(5)
    contrast = torch.linspace(0.3, 1.0, count, dtype=torch.float64).view(-1, 1, 1, 1)
    return contrast * torch.rand(count, 3, 16, 16, generator=generator, dtype=torch.float64), torch.arange(count)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weighted(explainer: RelEx, model: nn.Module, x: Tensor, y: Tensor, *, create_graph: bool) -> Tensor:
    """Random weights times the map, float[B]."""
    weights = torch.randn(x.shape, generator=generator(7), dtype=x.dtype)
    maps = explainer(model, x, y, create_graph=create_graph, generator=generator())
    return (maps * weights).sum(dim=(1, 2, 3))


def gradient_of(explainer: RelEx, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    attached = x.clone().requires_grad_()
    return torch.autograd.grad(weighted(explainer, model, attached, y, create_graph=True).sum(), attached)[0]


@pytest.mark.parametrize(("suffix", "lam1"), [("", 1e-4), ("_l1big", 1e-2)])
def test_losses_gradients_and_masks_are_those_of_the_official_code(suffix: str, lam1: float) -> None:
    data = vectors("relex")
    network, x, target = smooth_network(normalised=False), data["x"], data["target"].view(1)
    loss: Losses = partial(losses, stdev=0.1, lam1=lam1, lam2=1.0)
    draws = data["noise"] / data["x_std"]
    mask, velocity = data["mask0"], torch.zeros_like(x)
    for step in range(3):
        found = loss(network, x, target, mask, draws[step])
        assert (found[0] - data[f"loss_vec{suffix}"][step]).abs().max() < 1e-9
        assert abs(found.mean() - data[f"objective{suffix}"][step]) < 1e-9
        gradient = unit_gradient(loss, network, x, target, mask, draws[step], create_graph=False)
        assert (gradient - data[f"grad{suffix}"][step]).abs().max() < 1e-9
        mask, velocity = descend(loss, network, x, target, mask, velocity, [draws[step]], create_graph=False)
        assert (mask - data[f"mask{suffix}"][step]).abs().max() < 1e-9


def test_losses_are_those_of_a_loop_over_images_copies_and_classes_in_normalised_units() -> None:
    model, (x, y) = smooth_network(), images()
    mask = torch.rand(x.shape, generator=generator(), dtype=torch.float64)
    draws = torch.randn(4, *x.shape[1:], generator=generator(1), dtype=torch.float64)
    found = losses(model, x, y, mask, draws, stdev=0.3, lam1=0.02, lam2=0.7).detach()
    for i, (image, label) in enumerate(zip(x, y.tolist(), strict=True)):
        z = model[0](image[None])[0]
        noise = 0.3 * (float(z.max()) - float(z.min())) * draws
        for b in range(4):
            kept, lost = (
                model[1](((z + noise[b]) * part)[None]).softmax(dim=1)[0].tolist() for part in (mask[i], 1 - mask[i])
            )
            wanted = -math.log(kept[label]) - 0.7 * math.log(1 - lost[label] + 1e-7) + 0.02 * float(mask[i].sum())
            assert abs(float(found[i, b]) - wanted) < 1e-9


def test_a_map_is_what_the_generators_first_mask_and_then_its_noise_lead_to() -> None:
    model, (x, y) = smooth_network(), images()
    source = generator(3)
    start = 0.01 * torch.rand(x.shape[1:], generator=source, dtype=torch.float64)
    draws = [torch.randn(2, *x.shape[1:], generator=source, dtype=torch.float64) for _ in range(4)]
    loss: Losses = partial(losses, stdev=0.1, lam1=1e-4, lam2=1.0)
    wanted, _ = descend(loss, model, x, y, start.expand_as(x), torch.zeros_like(x), draws, create_graph=False)
    found = RelEx(steps=4, samples=2)(model, x, y, generator=generator(3))
    assert torch.equal(found, wanted)
    assert float(found.min()) == 0
    assert float(found.max()) <= 1


def test_a_map_does_not_depend_on_the_batch(coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor]) -> None:
    model, x = copy.deepcopy(coarse_network).double(), coarse_images[0][:4].double()
    y = model(x).argmax(dim=1)
    explainer = RelEx(samples=2)
    together = explainer(model, x, y, generator=generator())
    for i in range(len(x)):
        alone = explainer(model, x[i : i + 1], y[i : i + 1], generator=generator())
        assert (alone[0] - together[i]).abs().max() < 1e-9


def test_neither_a_graph_nor_its_length_nor_chunks_change_the_map() -> None:
    model, (x, y) = smooth_network(), images()
    wanted = RelEx(steps=8, samples=3)(model, x, y, generator=generator())
    for unroll, budget in itertools.product((1, 3, 8, 20), (1, 10**6, 10**9)):
        explainer = RelEx(steps=8, samples=3, unroll=unroll)
        with memory_budget(budget):
            attached = x.clone().requires_grad_()
            found = explainer(model, attached, y, create_graph=True, generator=generator())
            assert (found.detach() - wanted).abs().max() < 1e-9
            assert (explainer(model, x, y, generator=generator()) - wanted).abs().max() < 1e-9


def test_chunks_do_not_change_the_derivative() -> None:
    model, (x, y) = smooth_network(), images()
    explainer = RelEx(steps=4, samples=3, unroll=3)
    wanted = gradient_of(explainer, model, x, y)
    for budget in (1, 10**6):
        with memory_budget(budget):
            assert (gradient_of(explainer, model, x, y) - wanted).abs().max() <= 1e-9 * wanted.abs().max()


def differences(value: object, x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences with two step sizes, float[B] each."""
    near, far = (
        (value(x + h * direction) - value(x - h * direction)) / (2 * h)  # type: ignore[operator]
        for h in (1e-6, 2e-6)
    )
    return near, far


@pytest.mark.parametrize(("steps", "unroll"), [(1, 1), (3, 3), (3, 9), (4, 1), (4, 3)])
def test_the_derivative_is_that_of_the_last_steps_with_what_came_before_held_fixed(steps: int, unroll: int) -> None:
    """With ``unroll`` at least ``steps`` nothing is held fixed and it is the derivative of the map."""
    model, (x, y) = smooth_network(), images()
    explainer = RelEx(steps=steps, samples=3, unroll=unroll)
    found = gradient_of(explainer, model, x, y)
    loss: Losses = partial(losses, stdev=0.1, lam1=1e-4, lam2=1.0)
    source = generator()
    start = 0.01 * torch.rand(x.shape[1:], generator=source, dtype=torch.float64)
    draws = [torch.randn(3, *x.shape[1:], generator=source, dtype=torch.float64) for _ in range(steps)]
    held = max(0, steps - unroll)
    state = descend(loss, model, x, y, start.expand_as(x), torch.zeros_like(x), draws[:held], create_graph=False)
    weights = torch.randn(x.shape, generator=generator(7), dtype=x.dtype)

    def value(moved: Tensor) -> Tensor:
        mask, _ = descend(loss, model, moved, y, *state, draws[held:], create_graph=False)
        return (mask * weights).sum(dim=(1, 2, 3))

    if held == 0:
        assert torch.equal(value(x), weighted(explainer, model, x, y, create_graph=False))
    checked = 0
    for seed in range(6):
        direction = torch.randn(x.shape, generator=generator(20 + seed), dtype=torch.float64)
        wanted, again = differences(value, x, direction)
        along = (found * direction).sum(dim=(1, 2, 3))
        scale = (found.abs() * direction.abs()).sum(dim=(1, 2, 3))
        # Where two step sizes disagree, a pixel of the mask is clipped between the points.
        smooth = (wanted - again).abs() <= 1e-7 * scale
        assert ((along - wanted).abs() <= 1e-6 * scale)[smooth].all(), (along, wanted)
        checked += int(smooth.sum())
    assert checked >= 9


def test_a_truncated_derivative_is_not_the_exact_one() -> None:
    model, (x, y) = smooth_network(), images()
    exact, truncated = (gradient_of(RelEx(steps=4, samples=3, unroll=unroll), model, x, y) for unroll in (4, 1))
    assert (exact - truncated).abs().max() > 1e-3 * exact.abs().max()


class Constant(nn.Module):
    """The same logits for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), 2)


@pytest.mark.parametrize("lam1", [0.0, 1e-4])
def test_a_network_that_looks_at_nothing_has_a_finite_map_and_a_finite_derivative(lam1: float) -> None:
    x, y = (part[:2] for part in images())
    x = x.float().requires_grad_()
    explainer = RelEx(steps=3, samples=2, unroll=3, lam1=lam1)
    maps = explainer(Constant().eval(), x, y, create_graph=True, generator=generator())
    assert maps.isfinite().all()
    assert torch.autograd.grad(maps.sum(), x)[0].isfinite().all()
    start = 0.01 * torch.rand(x.shape[1:], generator=generator(), dtype=torch.float64)
    assert torch.allclose(maps.double(), start.expand(2, -1, -1, -1)) == (lam1 == 0)
    assert (maps.detach() == 0).all() == (lam1 > 0), "only the size of the mask is left to be made small"


@pytest.mark.parametrize("margin", [1.0, 14.0, 16.0, 20.0])
def test_a_network_that_is_certain_loses_no_digits_in_float32(margin: float) -> None:
    model, x = Constant().eval(), torch.rand(1, 1, 2, 2, generator=generator())
    model.logits.data = torch.tensor([0.0, margin])
    found = losses(model, x, torch.tensor([1]), x, x, stdev=0.0, lam1=0.0, lam2=0.5)
    (gradient,) = torch.autograd.grad(found.sum(), model.logits)
    other = 1 / (1 + math.exp(margin))
    assert float(found.detach()) == pytest.approx(
        math.log1p(math.exp(-margin)) - 0.5 * math.log(other + 1e-7), rel=1e-6
    )
    assert float(gradient[1]) == pytest.approx(-other + 0.5 * other * (1 - other) / (other + 1e-7), rel=1e-5)


def test_a_mask_keeps_the_class_and_the_rest_of_the_image_loses_it(
    network: nn.Module, real_images: tuple[Tensor, Tensor]
) -> None:
    x = real_images[0][:6]
    y = network(x).argmax(dim=1)
    mask, mean = RelEx(samples=3)(network, x, y, generator=generator()), input_mean(network)
    kept, lost = (
        network(mean + part * (x - mean)).detach().softmax(dim=1).gather(1, y[:, None]) for part in (mask, 1 - mask)
    )
    assert float(kept.min()) > 0.95
    assert float(lost.max()) < 0.2
    assert float(mask.mean()) < 0.25


def test_every_copy_is_sent_through_the_network_twice_in_every_step() -> None:
    model, (x, y) = smooth_network(), images()
    with counted(model) as passes:
        RelEx(steps=4, samples=3)(model, x, y)
    assert (passes.forward, passes.backward, passes.double_backward) == (2 * 4 * 3 * 3, 2 * 4 * 3 * 3, 0)
    with counted(model) as passes:
        gradient_of(RelEx(steps=4, samples=3, unroll=2), model, x, y)
    assert passes.double_backward == 2 * 2 * 3 * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"samples": 0}, "samples=0 must be at least 1"),
        ({"unroll": 0}, "unroll=0 must be at least 1"),
        ({"stdev": -0.1}, "stdev=-0.1 must not be negative"),
        ({"lam1": -1.0}, "lam1=-1 must not be negative"),
        ({"lam2": -1.0}, "lam2=-1 must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelEx(**settings)  # type: ignore[arg-type]


def test_the_mean_colour_is_zero_in_normalised_units() -> None:
    model = smooth_network()
    grey = torch.zeros(1, 3, 2, 2, dtype=torch.float64) + input_mean(model)
    assert torch.equal(model[0](grey), torch.zeros_like(grey))
    assert (model[0](grey + input_scale(model)) - 1).abs().max() < 1e-12
    assert input_mean(model[1]) == 0.0
