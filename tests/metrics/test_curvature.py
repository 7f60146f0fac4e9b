"""Second derivatives: against explicit Hessians, finite differences and the official codes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.metrics import registry
from attrobust.metrics.curvature.aga_bound import AgaBound
from attrobust.metrics.curvature.curvature import Curvature
from attrobust.metrics.curvature.hessian import HessianNorm
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import Objective, gradient, largest_curvature, length, second_order

from helpers.cases import FEW, MakeCase, case_of
from helpers.vectors import close, tiny_network, vectors

NETWORK = [name for name in registry.names() if registry.get(name).scope == "network"]
BOTH: list[Objective] = ["loss", "logit"]


class Quadratic(nn.Module):
    """Logits ``(xᵀ A x / 2, 0)`` of images with as many pixels as A has rows."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        value = (flat @ self.matrix * flat).sum(dim=1) / 2
        return torch.stack([value, torch.zeros_like(value)], dim=1)


@pytest.fixture(scope="module")
def crop(real_images: tuple[Tensor, Tensor]) -> Case:
    """A small smooth network with a max-pool on 8×8 crops of digits, asked for a class it does not predict.

    A little noise takes the crops off the kinks where blank pixels tie for the maximum.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(1, 6, 3, padding=1), nn.Softplus(beta=3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10))
        )
    x = real_images[0][:3, :, 10:18, 10:18].double()
    x = 0.99 * x + 0.01 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model.double().eval()
    return case_of(model, x, (model(x).argmax(dim=1) + 1) % 10)


def value(case: Case, image: Tensor, row: int, of: str) -> Tensor:
    logits, target = case.model(image[None]), case.target[row : row + 1]
    return F.cross_entropy(logits, target) if of == "loss" else logits[0, target[0]]


def hessians(case: Case, of: str) -> Tensor:
    """Explicit Hessians, B×D×D, by torch's own second derivatives of one image at a time."""
    size = case.clean[0].numel()
    rows = [
        torch.autograd.functional.hessian(lambda z, i=i: value(case, z, i, of), image).view(size, size)
        for i, image in enumerate(case.clean)
    ]
    return torch.stack(rows)


def gradients(case: Case, x: Tensor, of: str) -> Tensor:
    return torch.stack(
        [
            torch.autograd.functional.jacobian(lambda z, i=i: value(case, z, i, of), image).flatten()
            for i, image in enumerate(x)
        ]
    )


def largest(case: Case, of: str) -> Tensor:
    return torch.linalg.eigvalsh(hessians(case, of)).abs().amax(dim=1)


@pytest.mark.parametrize("of", BOTH)
def test_products_with_the_hessian_are_finite_differences_of_the_gradient(crop: Case, of: Objective) -> None:
    direction = torch.randn(crop.clean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first, product = second_order(crop.model, crop.clean, crop.target, of)
    close(first.flatten(1), gradients(crop, crop.clean, of), 1e-12)
    close(gradient(crop.model, crop.clean, crop.target, of), first, 1e-12)
    h = 1e-5
    ahead, behind = (gradients(crop, crop.clean + sign * h * direction, of) for sign in (1, -1))
    close(product(direction).flatten(1), (ahead - behind) / (2 * h), 1e-6)


@pytest.mark.parametrize("of", BOTH)
def test_curvature_is_the_explicit_hessians_eigenvalue_over_the_gradient(crop: Case, of: Objective) -> None:
    wanted = largest(crop, of) / (gradients(crop, crop.clean, of).norm(dim=1) + 1e-6)
    found = Curvature(of=of, iterations=300).score(crop)
    assert torch.allclose(found, wanted, rtol=1e-4)
    assert (found <= wanted * (1 + 1e-12)).all(), "power iteration comes from below"


@pytest.mark.parametrize("of", BOTH)
def test_the_spectral_norm_is_the_explicit_hessians(crop: Case, of: Objective) -> None:
    found = HessianNorm(of=of, iterations=300).score(crop)
    assert torch.allclose(found, torch.linalg.matrix_norm(hessians(crop, of), 2), rtol=1e-4)


@pytest.mark.parametrize("of", BOTH)
def test_the_frobenius_norm_is_the_explicit_hessians_within_its_error(crop: Case, of: Objective) -> None:
    explicit = hessians(crop, of)
    wanted, samples = explicit.square().sum(dim=(1, 2)), 1000
    found = HessianNorm(by="frobenius", of=of, samples=samples).score(crop).square()
    squared = explicit @ explicit
    off_diagonal = squared - torch.diag_embed(squared.diagonal(dim1=1, dim2=2))
    error = (2 * off_diagonal.square().sum(dim=(1, 2)) / samples).sqrt()
    assert ((found - wanted).abs() <= 4 * error).all()
    assert (error < 0.1 * wanted).all()


def test_twenty_steps_find_most_of_a_trained_networks_curvature(real_images: tuple[Tensor, Tensor]) -> None:
    model = load("digits/aga").double()
    x = real_images[0][:1].double()
    case = case_of(model, x, model(x).argmax(dim=1))
    assert 0.98 < float(HessianNorm(of="logit").score(case) / largest(case, "logit")) <= 1 + 1e-12


def test_eigenvalues_of_either_sign_that_are_equally_large_are_found() -> None:
    """The iterate stays between the two eigenvectors, where its own product with what it becomes is anything."""
    case = case_of(
        Quadratic(torch.diag(torch.tensor([3.0, -3.0, 1.0, 0.5]).double())),
        torch.ones(1, 1, 2, 2).double(),
        torch.tensor([0]),
    )
    assert HessianNorm(of="logit").score(case).tolist() == pytest.approx([3.0])
    assert HessianNorm(of="logit", by="frobenius", samples=1).score(case).item() == pytest.approx(19.25**0.5)
    assert Curvature(of="logit").score(case).item() == pytest.approx(3 / (19.25**0.5 + 1e-6))


def test_the_official_curvature_of_low_curvature_networks() -> None:
    data = vectors("lcnn")
    network = tiny_network(data, "S", lambda: nn.Softplus(beta=3))
    first, product = second_order(network, data["x"], data["y"], "loss")
    close(length(first), data["curv_gnorm"])
    v, steepest = largest_curvature(product, data["curv_u0"], 10)
    rayleigh = (v * steepest).sum(dim=(1, 2, 3)).abs()
    close(rayleigh, data["curv_hess"])
    close(rayleigh / (length(first) + 1e-6), data["curv_curvature"])


def test_official_hessian_vector_products_of_logit_and_loss() -> None:
    data = vectors("hessian_loss")
    network = tiny_network(data, "S", lambda: nn.Softplus(beta=3))
    for of, key, batch_mean in (("logit", "hvp_sq_logit", 1), ("loss", "hvp_sq_ce", len(data["x"]))):
        _, product = second_order(network, data["x"], data["y"], of)
        close(length(product(data["v"])).square() / batch_mean**2, data[key])


def test_where_activations_have_kinks_the_logit_has_no_curvature_and_the_loss_has(make_case: MakeCase) -> None:
    case = make_case(slice(2))
    piecewise = any(isinstance(module, nn.ReLU) for module in case.model.modules())
    for metric in (Curvature(of="logit"), HessianNorm(of="logit"), HessianNorm(of="logit", by="frobenius"), AgaBound()):
        assert metric.score(case).isnan().tolist() == [piecewise] * 2
    assert (Curvature(of="loss").score(case) > 0).all()


def test_frozen_linear_networks_have_the_curvature_of_softmax_alone() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4)).double().requires_grad_(False)
    x = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    case = case_of(model, x, torch.tensor([0, 3]))
    assert HessianNorm(of="logit").score(case).tolist() == [0.0, 0.0]
    p, w = model(x).softmax(dim=1), model[1].weight
    explicit = torch.stack([w.T @ (torch.diag(row) - torch.outer(row, row)) @ w for row in p])
    found = HessianNorm(iterations=100).score(case)
    assert torch.allclose(found, torch.linalg.matrix_norm(explicit, 2), rtol=1e-9)


@pytest.mark.parametrize("noise", ["uniform", "normal"])
def test_agas_bound_is_made_of_finite_differences(crop: Case, noise: str) -> None:
    metric = AgaBound(noise=noise, samples=3, radius=0.05)
    streams, h, wanted = crop.streams("aga-bound"), 1e-4, torch.zeros(3, dtype=torch.float64)
    for _ in range(3):
        delta = 0.05 * (streams.uniform(crop.clean) if noise == "uniform" else streams.normal(crop.clean))
        ahead, behind = (gradients(crop, crop.clean + sign * h * delta, "logit") for sign in (1, -1))
        neighbour = gradients(crop, crop.clean + delta, "logit")
        wanted += ((ahead - behind) / (2 * h)).norm(dim=1) / neighbour.norm(dim=1) / 3
    close(metric.score(crop), wanted)


def test_agas_bound_holds_of_the_angle_to_first_order(crop: Case) -> None:
    radius = 1e-4
    delta = radius * crop.streams("aga-bound").uniform(crop.clean)
    cosine = F.cosine_similarity(*(gradients(crop, x, "logit") for x in (crop.clean, crop.clean + delta)))
    bound = AgaBound(radius=radius, samples=1).score(crop)
    assert ((1 - cosine.square()).sqrt() <= 1.01 * bound).all()
    assert (bound > 0).all()


def test_agas_bound_is_undefined_where_a_neighbours_gradient_is_zero() -> None:
    flat = case_of(Quadratic(torch.zeros(4, 4).double()), torch.ones(2, 1, 2, 2).double(), torch.tensor([0, 0]))
    assert AgaBound().score(flat).isnan().all()
    delta = 0.1 * flat.streams("aga-bound").uniform(flat.clean)
    bowl = case_of(Quadratic(torch.eye(4).double()), 0 * delta, torch.tensor([0, 0]))
    object.__setattr__(bowl, "clean", -delta)  # No image, but its neighbour is exactly where the gradient is zero.
    assert AgaBound(radius=0.1, samples=1).score(bowl).isnan().all()


@pytest.mark.parametrize("name", NETWORK)
def test_what_is_of_the_network_asks_no_explainer_and_leaves_frozen_parameters_frozen(
    name: str, crop: Case, real_images: tuple[Tensor, Tensor]
) -> None:
    metric = registry.get(name)(**FEW.get(name, {}))
    model = load("digits/softplus").double().requires_grad_(False)
    x = real_images[0][:2].double()
    scores = metric.score(case_of(model, x, model(x).argmax(dim=1)))
    assert scores.isfinite().all()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    metric.score(crop)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in crop.model.parameters())


@pytest.mark.parametrize("metric", [Curvature(), HessianNorm(), HessianNorm(by="frobenius"), AgaBound()], ids=str)
def test_other_seeds_are_other_draws(metric: HessianNorm, crop: Case) -> None:
    first, other = metric.score(crop), metric.score(replace(crop, seed=1))
    assert not torch.equal(first, other)
    assert torch.allclose(first, other, rtol=0.5)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("curvature", {"of": "logits"}, "of=logits must be loss or logit"),
        ("curvature", {"iterations": 0}, "iterations=0 must be at least 1"),
        ("hessian-norm", {"by": "nuclear"}, "by=nuclear must be spectral or frobenius"),
        ("hessian-norm", {"samples": 0}, "samples=0 must be at least 1"),
        ("aga-bound", {"radius": 0.0}, "radius must be above 0"),
        ("aga-bound", {"noise": "cauchy"}, "noise=cauchy must be uniform or normal"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.get(name)(**settings)
