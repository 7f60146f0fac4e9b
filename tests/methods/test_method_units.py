"""Units: penalties of gradients are those of the normalised input, sizes of perturbations those of pixels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.models.resnet import ResNet18
from attrobust.benchmark.training.loop import fresh_network
from attrobust.explainers.base import Explainer
from attrobust.explainers.deeplift import DeepLift
from attrobust.explainers.lrp import LRP
from attrobust.explainers.saliency import Saliency
from attrobust.maps.lengths import PIXELS, unit
from attrobust.methods import registry
from attrobust.methods.advgrad import UNIT, AdvGrad
from attrobust.methods.aga import AGA
from attrobust.methods.base import Batch
from attrobust.methods.cure import Cure
from attrobust.methods.hessian import Hessian
from attrobust.methods.jacobian import Jacobian
from attrobust.methods.lcnn import LCNN
from attrobust.methods.natural import Natural
from attrobust.methods.r2et import R2ET
from attrobust.networks.smoothed import Normalize, spell_out
from attrobust.types import Amount

from helpers.vectors import tiny_network, vectors

SIGMA = 0.25


@pytest.fixture(scope="module")
def data() -> dict[str, Tensor]:
    return vectors("cure")


@pytest.fixture(scope="module")
def plain(data: dict[str, Tensor]) -> nn.Module:
    return tiny_network(data, "S", lambda: nn.Softplus(beta=3))


def behind(network: nn.Module, sigma: float) -> nn.Module:
    """The network behind a normalisation with mean 0.5."""
    normalize = Normalize((0.5,) * 3, (sigma,) * 3).double()
    normalize.std = torch.full((1, 3, 1, 1), sigma, dtype=torch.float64)
    return nn.Sequential(normalize, network).eval()


Loss = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
LOSSES: dict[str, tuple[Loss, Loss]] = {
    "aga": (AGA(eps=0.1).loss, AGA(eps=0.1 / SIGMA).loss),
    "hessian": (Hessian(lam=0.1).loss,) * 2,
    "jacobian": (Jacobian(lam=1.0).loss,) * 2,
    "cure": (Cure(h=0.1).loss, Cure(h=0.1 / SIGMA).loss),
    "r2et": (R2ET(k=Amount(20, False), adapt=False).loss,) * 2,
    "r2et paper": (R2ET(k=Amount(20, False), adapt=False, variant="paper").loss,) * 2,
    "lcnn": (LCNN(lam_beta=0, lam_gamma=0, lam_grad=1.0).loss,) * 2,
}
"""A method for pixels, and the same for a network that is fed normalised images."""


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_behind_a_normalisation_is_that_of_normalised_images(
    name: str, data: dict[str, Tensor], plain: nn.Module
) -> None:
    x, y = data["x"], data["y"]
    pixels, normalised = LOSSES[name]
    ours = pixels(behind(plain, SIGMA), x, y, torch.Generator().manual_seed(0))
    theirs = normalised(plain, (x - 0.5) / SIGMA, y, torch.Generator().manual_seed(0))
    assert torch.allclose(ours, theirs, rtol=1e-7)
    without = Natural().loss(plain, (x - 0.5) / SIGMA, y, torch.Generator())
    assert (ours - without).abs() > 1e-3 * without, "a term that is not there has no units"


@pytest.mark.parametrize("penalty", ["l1", "elastic"])
def test_advgrads_defaults_are_the_papers_in_its_own_units(
    penalty: str, data: dict[str, Tensor], plain: nn.Module
) -> None:
    x, y = data["x"], data["y"]
    ours = AdvGrad(penalty=penalty, variant="paper").adversarial(behind(plain, UNIT), x, y)  # type: ignore[arg-type]
    paper = AdvGrad(penalty=penalty, eps=0.01, eps2=0.05, variant="paper")  # type: ignore[arg-type]
    normalised = (x - 0.5) / UNIT
    assert torch.allclose((ours - x) / UNIT, paper.adversarial(plain, normalised, y) - normalised, atol=1e-12)


def test_r2ets_hessian_term_is_that_of_the_whole_hessian(data: dict[str, Tensor], plain: nn.Module) -> None:
    sizes = []
    for image, label in zip(data["x"][:2], data["y"][:2], strict=True):

        def loss(flat: Tensor, label: Tensor = label) -> Tensor:
            return nn.functional.cross_entropy(plain(flat.reshape(1, 3, 16, 16)), label[None])

        flat = image.flatten()
        sign = torch.autograd.functional.jacobian(loss, flat).sign()
        hessian = torch.autograd.functional.hessian(loss, flat)
        sizes.append((hessian @ sign).norm() / len(flat))
    x, y = data["x"][:2].clone().requires_grad_(), data["y"][:2]
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(plain(x), y, reduction="sum"), x, create_graph=True)
    found = R2ET(adapt=False).curvature(plain, gradient, x, y)
    assert torch.allclose(found, torch.stack(sizes).mean(), rtol=1e-9)


def test_cures_step_grows_in_five_stages_to_its_full_length(data: dict[str, Tensor], plain: nn.Module) -> None:
    method = Cure(h=3.0)

    def at(progress: float) -> Tensor:
        batch = Batch(x=data["x"], y=data["y"], generator=torch.Generator(), progress=progress)
        return next(method.losses(plain, batch))

    for progress, h in ((0.0, 0.1), (0.1, 0.4), (0.2, 0.8), (0.3, 1.8), (0.4, 3.0), (0.9, 3.0)):
        wanted = Cure(h=h).loss(plain, data["x"], data["y"], torch.Generator())
        assert torch.allclose(at(progress), wanted, rtol=1e-9)


@pytest.mark.parametrize("size", [1.0, 1e-25, 1e-37])
def test_a_direction_has_length_one_however_small_its_gradient(size: float) -> None:
    draw = torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    draw[1] = 0
    lengths = unit(size * draw, PIXELS).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.tensor([1.0, 0.0]), atol=1e-5)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_spelled_out_batch_normalisation_is_torchs(momentum: float | None) -> None:
    draw = torch.Generator().manual_seed(0)
    norm = nn.BatchNorm2d(3, momentum=momentum).double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=draw)
        norm.bias.normal_(generator=draw)
    other = spell_out(nn.Sequential(norm))
    norm = nn.BatchNorm2d(3, momentum=momentum).double()
    norm.load_state_dict({key.removeprefix("0."): value.clone() for key, value in other.state_dict().items()})
    for _ in range(3):
        x = torch.randn((4, 3, 5, 5), generator=draw, dtype=torch.float64)
        assert torch.allclose(other(x), norm(x), rtol=1e-9)
    for key, value in norm.state_dict().items():
        assert torch.allclose(other.state_dict()[f"0.{key}"], value, rtol=1e-9), key
    assert torch.equal(other.eval()(x), norm.eval()(x)) or torch.allclose(other(x), norm(x), rtol=1e-12)
    assert spell_out(other) is other


@pytest.mark.parametrize("explainer", [Saliency(), LRP(), DeepLift()], ids=lambda item: type(item).__name__)
def test_spelled_out_batch_normalisation_is_explained_like_torchs(explainer: Explainer) -> None:
    small = Digits(size=16).load(None)
    network = fresh_network(Natural(), ResNet18(), small, seed=0).double()
    x, y = small.splits["test"].batch(range(4))
    network.train()(x.double())
    network.eval()
    maps = [explainer(model, x.double(), y) for model in (network, spell_out(network))]
    assert torch.allclose(*maps, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["hessian", "r2et"])
def test_penalties_of_curvature_reach_every_weight_of_a_network_with_batch_normalisation(name: str) -> None:
    small = Digits(size=16).load(None)
    method = registry.get(name)()
    network = fresh_network(method, ResNet18(), small, seed=0).train()
    loss = method.loss(network, *small.splits["train"].batch(range(4)), torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.isfinite()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
