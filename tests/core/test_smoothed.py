"""Smooth views of a network share its weights and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.networks.smoothed import Normalize, input_scale, is_smooth, softplus_model


def test_a_view_tends_to_the_network_as_beta_grows(real_images: tuple[Tensor, Tensor]) -> None:
    model, x = load("digits/natural"), real_images[0]
    gaps = [float((softplus_model(model, beta)(x) - model(x)).detach().abs().max()) for beta in (3, 30, 300, 3000)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-2


def test_training_one_trains_the_other_and_the_network_is_untouched(real_images: tuple[Tensor, Tensor]) -> None:
    model, x = load("digits/natural"), real_images[0]
    before = model(x)
    smoothed = softplus_model(model, 3.0)
    assert torch.equal(model(x), before)
    assert is_smooth(smoothed)
    assert not is_smooth(model)
    assert [id(p) for p in smoothed.parameters()] == [id(p) for p in model.parameters()]
    assert [id(b) for b in smoothed.buffers()] == [id(b) for b in model.buffers()]
    with torch.no_grad():
        next(smoothed.parameters()).mul_(1.5)
    assert not torch.equal(model(x), before)


def test_a_network_without_relu_modules_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs nn\.ReLU activations"):
        softplus_model(load("digits/aga"), 3.0)
    with pytest.raises(ValueError, match="beta must be above 0"):
        softplus_model(load("digits/natural"), 0.0)


def test_the_input_scale_is_the_chain_rule_of_normalisation() -> None:
    inner = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    model = nn.Sequential(Normalize((0.1, 0.2, 0.3), (0.5, 1.0, 2.0)), inner)
    x = torch.rand(1, 3, 2, 2, requires_grad=True)
    z = model[0](x).detach().requires_grad_()
    (pixel,) = torch.autograd.grad(model(x).sum(), x)
    (normalised,) = torch.autograd.grad(inner(z).sum(), z)
    assert torch.allclose(pixel * input_scale(model), normalised)
    assert input_scale(inner) == 1.0
