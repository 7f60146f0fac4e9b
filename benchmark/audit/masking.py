"""Flags about the audit's own attack, which are signs of masked gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Context
from attrobust.benchmark.audit.case import PROBE, STILL, AuditCase, count, distance, enough
from attrobust.types import Flag

FACTOR = 4
"""Factor by which steps, and eps, are raised to see whether maps then change more."""
GAIN = 1.2
"""Factor by which the change of the maps must rise, at least."""
VANISHED = 1e-6
"""l1 norm of the objective's gradient, in shares of a map's mass per pixel unit, below which it counts as zero."""
ALIKE = 0.9
"""Mean cosine between maps of the smoothed model and of the network below which a flag is raised."""


def view_differs(case: AuditCase) -> list[Flag]:
    """Raised where maps of the smoothed model that attacks differentiate differ from those of the network."""
    followed = case.scored.followed
    smoothed = differentiated(case.scored, case.x)
    if smoothed is followed.model:
        return []
    cosine = 1 - distance(followed.maps(case.x, case.y), followed.maps(case.x, case.y, model=smoothed))
    if cosine >= ALIKE:
        return []
    reason = (
        f"maps of the smoothed model that attacks differentiate have a mean cosine of {cosine:.3f} with the network's"
    )
    return [Flag(name="smoothed-differs", reason=reason)]


def gradient_vanishes(case: AuditCase) -> list[Flag]:
    """Raised where the gradient that an attack would follow is zero or not finite."""
    context = case.attacked
    size = followed_gradient(context, case.x.to(context.partners), case.y).flatten(1).abs().sum(dim=1)
    zero, not_finite = size < VANISHED, ~size.isfinite()
    if not enough(zero | not_finite):
        return []
    kinds = (("zero", zero), ("not finite", not_finite))
    parts = [f"{kind} on {count(images)}" for kind, images in kinds if images.any()]
    reason = f"the gradient that an attack would follow is {' and '.join(parts)}"
    return [Flag(name="gradient-vanishes", reason=reason)]


def differentiated(context: Context, x: Tensor) -> nn.Module:
    """The network that the probe differentiates, at the temperature of its last iteration, the lowest."""
    smoothed = PROBE.differentiated(context, x)
    smoothed.cool(PROBE.growth)
    return smoothed.network


def followed_gradient(context: Context, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the probe's objective at its first point, B×C×H×W, with values that are not finite kept."""
    followed, smoothed = context.followed, differentiated(context, x)
    objective = PROBE.objective(followed, x, y)
    start = context.threat.scatter(x, context.streams("start").uniform(x)).requires_grad_()
    (gradient,) = torch.autograd.grad(
        objective(followed.maps(start, y, model=smoothed, create_graph=True)).sum(), start
    )
    return gradient


def attack_does_not_help(case: AuditCase) -> list[Flag]:
    """Raised where more steps, or a larger eps, do not change the maps more.

    It is not raised where maps already change almost as much as between different images, which cannot be exceeded.
    """
    threat = case.threat
    short = case.moved(PROBE, threat)
    if GAIN * short >= case.apart:
        return []
    flags = []
    longer = replace(PROBE, steps=FACTOR * PROBE.steps)
    far = case.moved(longer, threat)
    if _no_further(short, far):
        reason = f"{longer.steps} steps of the probe move the maps by {far:.3g}, {PROBE.steps} by {short:.3g}"
        flags.append(Flag(name="more-steps-do-not-help", reason=f"{reason} (one minus the mean cosine)"))
    if threat.norm == "linf" and FACTOR * threat.eps > 1:
        return flags
    wider = replace(threat, eps=FACTOR * threat.eps)
    far = case.moved(PROBE, wider)
    if _no_further(short, far):
        reason = f"within {wider} the probe moves the maps by {far:.3g}, within {threat} by {short:.3g}"
        flags.append(Flag(name="larger-eps-does-not-help", reason=f"{reason} (one minus the mean cosine)"))
    return flags


def _no_further(short: float, far: float) -> bool:
    return far <= max(GAIN * short, STILL)
