"""Whether networks have the derivatives that a run takes of them: found out before anything is trained.

Attacks differentiate maps, and most maps are gradients. A few of torch's operations, and many of other packages, have a
first derivative only. Networks of which it is known that they have both are not tried, see ``networks.known``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Attack
from attrobust.attacks.engine.descent import GradientAttack
from attrobust.attacks.engine.differentiated import smoothed_model
from attrobust.benchmark.contract.settings import shortened
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.evaluation.evaluate import scored_copy
from attrobust.benchmark.run.grid import Grid
from attrobust.benchmark.training.first_step import first_step
from attrobust.benchmark.training.recipe import Recipe
from attrobust.explainers.base import Explainer
from attrobust.methods.base import Method
from attrobust.metrics.shared.derivatives import second_order
from attrobust.naming.component import Component
from attrobust.networks.copying import independent_copy
from attrobust.networks.known import is_known
from attrobust.networks.passes import counted
from attrobust.networks.reused import calls_apart
from attrobust.networks.second_order import SecondOrder
from attrobust.networks.spelled import function_kinks
from attrobust.process import standard

MISSING = re.compile(r"derivative for '?(?:aten::)?(\w+?)(?:_backward)?'? is not implemented")
"""What torch says of an operation; its own ending of first derivatives is left out."""
CURVATURE = "attrobust.metrics.curvature."
TRAINED = 2
"""Images of the step that a training is tried with."""
FEW = {"steps": 2, "samples": 2}
"""Settings of explainers that repeat the same operations, and how often they do so at most in a trial."""
CPU = torch.device("cpu")


def check_maps(scored: nn.Module, explainer: Component[Explainer], grid: Grid, image: Tensor) -> None:
    """Raise ValueError where maps of a network that attacks differentiate have no derivative.

    Args:
        scored: the network, evaluating, on the CPU, in the precision that maps are scored in.
        explainer: whose maps it can compute.
        grid: what is measured.
        image: 1×C×H×W in float64.
    """
    if is_known(scored) or not explainer.item.differentiable or explainer.item.ignores_image:
        return
    if not any(_differentiates(attack) for attack in grid.attacks):
        return
    differentiated = scored
    if not explainer.item.varies_within_region:
        apart = calls_apart(scored, image)
        functions = len(function_kinks(apart, image))
        smoothed = smoothed_model(apart, {}, beta=None, pool=None, inverse_temperature=0.3, functions=functions)
        differentiated = smoothed.network
    target = torch.zeros(1, dtype=torch.int64)
    short = shortened(explainer.item, FEW)
    with counted(differentiated) as passes:
        short(differentiated, image, target)
    # A map that is made without gradients has a derivative that is a first one.
    if passes.backward:
        _explained("attacks differentiate its maps", lambda: _map_gradient(differentiated, short, image, target))


def check_curvature(network: nn.Module, grid: Grid, image: Tensor) -> None:
    """Raise ValueError where metrics of curvature cannot differentiate a network, evaluating, on the CPU, twice."""
    if is_known(network):
        return
    target, scored = torch.zeros(1, dtype=torch.int64), scored_copy(network)
    for metric in grid.metrics:
        if type(metric.item).__module__.startswith(CURVATURE):
            _explained(f"{metric.label} differentiates it twice", lambda: _hessian_product(scored, image, target))


def check_training(network: nn.Module, method: Method, data: Loaded, recipe: Recipe) -> None:
    """Raise ValueError where the first step of a training fails for want of a derivative.

    Args:
        network: untrained, of the method, on the CPU; left as it is.
        method: that trains it.
        data: whose training images are used.
        recipe: of the training.
    """
    if is_known(independent_copy(network).eval()):
        return
    small = replace(recipe, batch_size=TRAINED)
    step = first_step(independent_copy(network), independent_copy(method), data.splits["train"], small, CPU)
    with standard(), torch.enable_grad():
        _explained("its training differentiates the network twice", step)


def _differentiates(attack: Component[Attack]) -> bool:
    return isinstance(attack.item, GradientAttack) or attack.item.follows_gradient


def _map_gradient(network: nn.Module, explainer: Explainer, image: Tensor, target: Tensor) -> None:
    # As attacks differentiate it.
    with standard(), torch.enable_grad(), SecondOrder():
        attached = image.detach().requires_grad_()
        maps = explainer(network, attached, target, create_graph=True)
        torch.autograd.grad(maps.sum(), attached)


def _hessian_product(network: nn.Module, image: Tensor, target: Tensor) -> None:
    with standard(), torch.enable_grad():
        first, product = second_order(network, image, target, "loss")
        product(first)


def _explained(why: str, compute: Callable[[], object]) -> None:
    """Say of a derivative that torch does not have what wants it, and what to do."""
    try:
        compute()
    except RuntimeError as error:
        found = MISSING.search(str(error))
        if found is None:
            raise
        raise ValueError(
            f"torch has no second derivative of {found[1]}, which the network computes, and {why}; write it as "
            "operations that have one, or leave out what differentiates twice"
        ) from error
