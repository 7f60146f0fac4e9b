"""Flags about logits, gradients and maps of clean images: random, dependent on the batch, wrong, or constant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrobust.benchmark.audit.case import AuditCase, count, enough, relative
from attrobust.types import Flag, percent

ALONE = 4
"""Number of images that are explained both alone and in the batch."""
DIFFERENTIATED = 3
"""Number of images whose gradients are held to differences of outputs."""
NOISE = 0.01
"""Range of the noise on these images, in pixel units."""
STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
"""Lengths of the differences, in pixel units."""
DIFFERS = 0.01
"""Error of a slope, as a share of the largest that the gradient allows, above which the gradient counts as another."""
FLAT = 0.01
"""Range of a map's values, as a share of the largest, below which the map counts as constant."""


def stochastic_forward(case: AuditCase) -> list[Flag]:
    """Raised where two passes of the same images give different logits."""
    with torch.no_grad():
        first, second = case.scored.model(case.x), case.scored.model(case.x)
    worst = relative(first - second, first).max()
    if not worst > _rounding(first):
        return []
    reason = (
        f"two passes of the same images give logits that differ by up to {percent(float(worst), '.2g')} of the largest"
    )
    return [Flag(name="stochastic-forward", reason=reason)]


def depends_on_batch(case: AuditCase) -> list[Flag]:
    """Raised where an image's logits or map differ between alone and in a batch."""
    context, rows = case.scored, range(min(ALONE, len(case.y)))
    single = [(case.x[i : i + 1], case.y[i : i + 1]) for i in rows]
    with torch.no_grad():
        logits = context.model(case.x)[: len(rows)]
        logits_alone = torch.cat([context.model(x) for x, _ in single])
    maps_alone = torch.cat([context.maps(x, y) for x, y in single])
    maps = case.maps[: len(rows)]
    differences = {
        "logits": relative(logits - logits_alone, logits).max(),
        "maps": relative(maps - maps_alone, maps).max(),
    }
    largest = {name: float(worst) for name, worst in differences.items() if worst > _rounding(maps)}
    parts = [f"{name} by up to {percent(worst, '.2g')}" for name, worst in largest.items()]
    if not parts:
        return []
    reason = f"alone and among {len(case.y)}, images differ in their {' and their '.join(parts)} of the largest value"
    return [Flag(name="depends-on-batch", reason=reason)]


def gradient_differs(case: AuditCase) -> list[Flag]:
    """Raised where the gradient of a logit is not the slope of the logit, for an image alone or in a batch.

    The slope is measured by differences of the network's own outputs, along the gradient's signs and along random
    signs, with several step lengths: next to a kink some of them are right. A little noise takes the images off the
    kinks that equal pixels are. The error is a share of the slope that a gradient of this length can have.
    """
    context, rows = case.scored, range(min(DIFFERENTIATED, len(case.y)))
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(case.x[: len(rows)].shape, generator=generator, dtype=torch.float64).to(case.x)
    x, y = (case.x[: len(rows)] + NOISE * (noise - 0.5)).clamp(0, 1), case.y[: len(rows)]
    random = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
    errors = {"in a batch": _slope_error(context.model, x, y, random)}
    alone = [_slope_error(context.model, x[i : i + 1], y[i : i + 1], random[i : i + 1]) for i in rows]
    errors["alone"] = max(alone)
    where, worst = max(errors.items(), key=lambda item: item[1])
    if not worst > DIFFERS:
        return []
    reason = (
        f"the gradient of a logit, of images {where}, is {percent(worst, '.2g')} away from the slope of the outputs"
    )
    return [Flag(name="gradient-differs", reason=reason)]


def _slope_error(model: nn.Module, x: Tensor, y: Tensor, random: Tensor) -> float:
    """How far the gradient of the sum of logits is from the sum's slope, as a share of the largest possible one.

    Of the sum, since a network that mixes images has no slope for each.
    """
    with torch.enable_grad():
        attached = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model(attached).gather(1, y[:, None]).sum(), attached)

    def slope(direction: Tensor, step: float) -> Tensor:
        with torch.no_grad():
            ahead, behind = (model(x + sign * step * direction).gather(1, y[:, None]).sum() for sign in (1, -1))
        found: Tensor = (ahead - behind) / (2 * step)
        return found

    worst, size = 0.0, gradient.abs().sum().clamp_min(torch.finfo(x.dtype).tiny)
    for direction in (gradient.sign(), random):
        along = (gradient * direction).sum()
        slopes = torch.stack([slope(direction, step) for step in STEPS])
        worst = max(worst, float(((slopes - along).abs() / torch.maximum(size, slopes.abs())).min()))
    return worst


def constant_map(case: AuditCase) -> list[Flag]:
    """Raised where all values of a map are nearly equal."""
    maps = case.maps.flatten(1)
    flat = relative((maps.amax(dim=1) - maps.amin(dim=1))[:, None], maps) < FLAT
    if not enough(flat):
        return []
    reason = f"the values of the map of {count(flat)} differ by less than {percent(FLAT, '.2g')} of the largest"
    return [Flag(name="constant-map", reason=reason)]


def _rounding(values: Tensor) -> float:
    """Relative difference that is attributed to rounding: 1.5e-8 in float64."""
    return float(torch.finfo(values.dtype).eps ** 0.5)
