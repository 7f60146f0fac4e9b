"""The flag of a network whose gradient jumps where attacks do not see it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from attrobust.benchmark.audit.case import AuditCase, count, enough
from attrobust.benchmark.audit.masking import differentiated
from attrobust.networks.second_order import SecondOrder
from attrobust.types import Flag

SPAN = 1 / 16
"""Distance from an image at which gradients are compared, in shares of eps."""
NODES = (4, 16)
"""Of Gauss-Legendre quadrature of the second derivatives between two points; more of them where a few do not do."""
UNSEEN = 0.1
"""Share of a gradient's change that its second derivatives may leave unexplained."""
ROUNDING = 1e4
"""Times the precision of numbers, as a share of a gradient, below which its change is rounding."""


def gradient_jumps(case: AuditCase) -> list[Flag]:
    """Raised where the second derivatives that attacks follow do not account for how a gradient changes.

    Of the gradient g of an explained logit of the smoothed model that attacks differentiate, and of random signs d,

        g(x + d) - g(x - d) = ∫ H(x + t d) d dt, t from -1 to 1,

    where H is the derivative of g. A kink that was not smoothed adds to the left side and not to the right one. Attacks
    on maps that vary within linear regions differentiate the network itself, so that this is not asked of them.
    """
    followed = case.scored.followed
    if followed.explainer.varies_within_region:
        return []
    network, generator = differentiated(case.scored, case.x), torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, case.x.shape, generator=generator).to(case.x) * 2 - 1
    step = SPAN * case.threat.eps * case.threat.direction(signs)
    for nodes in NODES:
        with SecondOrder():
            unseen = _unseen(network, case.x, case.y, step, nodes) > UNSEEN
        if not enough(unseen):
            return []
    reason = f"of {count(unseen)} the gradient changes by jumps that the model attacks differentiate does not have"
    return [Flag(name="gradient-jumps", reason=reason)]


def _unseen(network: nn.Module, x: Tensor, y: Tensor, step: Tensor, nodes: int) -> Tensor:
    """The share of the gradient's change between x - step and x + step without second derivatives, float[B]."""
    (_, ahead), (_, behind) = (_gradient(network, x + sign * step, y) for sign in (1, -1))
    change = ahead - behind
    known = torch.zeros_like(change)
    for place, weight in zip(*np.polynomial.legendre.leggauss(nodes), strict=True):
        attached, gradient = _gradient(network, x + float(place) * step, y, create_graph=True)
        if gradient.grad_fn is not None:
            (product,) = torch.autograd.grad((gradient * step).sum(), attached, materialize_grads=True)
            known += float(weight) * product
    size, rounding = _norm(change), ROUNDING * torch.finfo(x.dtype).eps * _norm(ahead)
    return torch.where(size > rounding, _norm(change - known) / size.clamp_min(rounding), 0)


def _gradient(network: nn.Module, x: Tensor, y: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Images and the gradient of their logits with respect to them."""
    with torch.enable_grad():
        attached = x.detach().requires_grad_()
        logits = network(attached).gather(1, y[:, None]).sum()
        (gradient,) = torch.autograd.grad(logits, attached, create_graph=create_graph)
    return attached, gradient


def _norm(values: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(values.detach().flatten(1), dim=1)
    return found
