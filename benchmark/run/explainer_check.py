"""Explainers checked on real images before anything is trained: what fails, or is not pure, is said at once."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from attrobust.explainers.base import Explainer
from attrobust.networks.smoothed import is_smooth, softplus_model
from attrobust.networks.state import HOOKS
from attrobust.places import ours


def check_explainer(explainer: Explainer, network: nn.Module, images: Tensor) -> None:
    """Explain one image; with a plug-in's explainer two, and hold it to the contract that the tests hold ours to.

    Args:
        explainer: any.
        network: in evaluation mode, on the CPU.
        images: two of the dataset, 2×C×H×W.

    Raises:
        ValueError: the explainer cannot explain the network, or is not what the contract asks for.
    """
    target = torch.zeros(len(images), dtype=torch.int64)
    if ours(type(explainer)):
        explainer(network, images[:1], target[:1])
        return
    before, given = copy.deepcopy(network.state_dict()), images.clone()
    hooks = _hooks(network)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        together = explainer(network, given, target)
        torch.manual_seed(1)
        alone = torch.cat([explainer(network, image[None].clone(), target[:1]) for image in images])
    if not torch.equal(given, images) or any(
        not torch.equal(value, before[key]) for key, value in network.state_dict().items()
    ):
        raise ValueError("the explainer changes the images or the network; work on copies")
    if _hooks(network) != hooks or any(parameter.grad is not None for parameter in network.parameters()):
        raise ValueError("the explainer leaves hooks or gradients in the network; remove them, use autograd.grad")
    if not together.isfinite().all():
        raise ValueError("the explainer gives NaN or infinity for a real image")
    if not torch.allclose(together, alone, rtol=0, atol=1e-3 * float(together.abs().max())):
        raise ValueError("an image's map depends on its batch or on global random numbers; draw from generator, once")
    if explainer.differentiable:
        smoothed = network if is_smooth(network) else softplus_model(network, 10.0)
        explainer(smoothed, images.clone().requires_grad_(), target, create_graph=True)


def _hooks(network: nn.Module) -> int:
    return sum(len(getattr(module, name)) for module in network.modules() for name in HOOKS)
