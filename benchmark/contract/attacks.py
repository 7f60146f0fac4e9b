"""The contract of attacks."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Attack, AttackOutput, Context
from attrobust.benchmark.contract.bench import Bench
from attrobust.benchmark.contract.claims import ClaimError, Contract, require
from attrobust.benchmark.contract.traces import Traces
from attrobust.explainers.sparsified_smoothgrad import SparsifiedSmoothGrad
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.networks.passes import counted
from attrobust.threat import ThreatModel

FEW = {"steps": 4, "queries": 12, "iterations": 4, "restarts": 2}
"""Settings that decide how long an attack takes, and the largest values that are tried."""
CONTRACT: Contract[Attack] = Contract("attack", Attack, "results", "run", few=FEW)
ROUNDING = 1e-6
"""Distance by which a result may leave ball and box, in pixel units."""


def allowed(attack: Attack, bench: Bench, norm: str = "linf", eps: float = 16 / 255) -> Context | None:
    """A context in which the attack works, with a ball of a norm and radius; None where it refuses that."""
    threat = ThreatModel(norm=norm, eps=eps, keep_prediction=not attack.on_prediction)  # type: ignore[arg-type]
    try:
        attack.check_threat(threat)
    except ValueError:
        return None
    return bench.context(threat)


def some_context(attack: Attack, bench: Bench) -> Context:
    """A context in which the attack works."""
    found = (allowed(attack, bench, norm, eps) for norm in ("linf", "l2") for eps in (16 / 255, 1.0))
    context = next((context for context in found if context), None)
    require(context is not None, "check_threat refuses every ball")
    assert context is not None
    return context


def raw(attack: Attack, context: Context, x: Tensor, y: Tensor) -> list[Tensor]:
    """What the author's function returns, before the base class enforces the threat model."""
    torch.manual_seed(0)
    with torch.enable_grad():
        return list(attack.results(context, x, y).images)


@CONTRACT.claim(short=True)
def results_are_images(attack: Attack, bench: Bench) -> None:
    """Results are finite images of the same shape."""
    for result in raw(attack, some_context(attack, bench), bench.x, bench.y):
        require(isinstance(result, Tensor), f"run returned {type(result).__name__}, not a tensor of images")
        require(result.shape == bench.x.shape, f"run returned {tuple(result.shape)} for {tuple(bench.x.shape)}")
        require(bool(result.isfinite().all()), "run returned NaN or infinity")


@CONTRACT.claim()
def results_are_inside(attack: Attack, bench: Bench) -> None:
    """Results lie in the ball and in [0, 1]."""
    for norm in ("linf", "l2"):
        context = allowed(attack, bench, norm)
        if context is None:
            continue
        x, threat = bench.x, context.threat
        for result in raw(attack, context, x.clone(), bench.y):
            low, high = float(result.min()), float(result.max())
            require(
                low >= -ROUNDING and high <= 1 + ROUNDING,
                f"results have pixels from {low:.3g} to {high:.3g}; clamp them",
            )
            delta = (result.detach() - x).flatten(1)
            size = float((delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)).max())
            problem = f"a result is {size:.3g} from its image in {norm}, and eps is {threat.eps:.3g}"
            require(size <= threat.eps + 10 * ROUNDING, f"{problem}; use context.threat.project(x, result)")


@CONTRACT.claim(short=True)
def everything_is_left_alone(attack: Attack, bench: Bench) -> None:
    """Images, classes, partners, network, modes and hooks are left alone."""
    context, x, y = some_context(attack, bench), bench.x, bench.y
    traces = Traces.of(context.model, x=x, y=y, partners=context.partners)
    assert context.source_model is not None
    source = Traces.of(context.source_model)
    raw(attack, context, x, y)
    traces.require_none()
    source.require_none()


@CONTRACT.claim(short=True)
def seed_decides(attack: Attack, bench: Bench) -> None:
    """The same seed gives the same result."""
    context = some_context(attack, bench)
    found = [attack(context, bench.x, bench.y).x for _ in range(2)]
    problem = "two calls with one seed differ; draw from context.streams, and keep no state between calls"
    require(torch.equal(*found), problem)


@CONTRACT.claim(short=True)
def nothing_is_kept(attack: Attack, bench: Bench) -> None:
    """Results are those of the network that is attacked, whatever was attacked before."""
    context, passes = some_context(attack, bench), []
    for model in (context.model, bench.other().requires_grad_(False)):
        with counted(model) as count:
            raw(attack, dataclasses.replace(context, model=model), bench.unseen(2), bench.y)
        passes.append(count.forward)
    problem = "the same images of another network are attacked without a pass through it; keep nothing between calls"
    require(not passes[0] or bool(passes[1]), problem)


@CONTRACT.claim()
def results_are_their_images(attack: Attack, bench: Bench) -> None:
    """An image's result does not depend on the images beside it."""
    if attack.batch_dependent:
        return
    # In float64, so that rounding, in which batched and single passes differ, stays small over all steps.
    given, x, y = some_context(attack, bench), bench.x.double(), bench.y
    context = dataclasses.replace(given, model=given.model.double(), partners=given.partners.double())
    if given.source_model is not None:
        given.source_model.double()
    together = attack(context, x, y).x
    alone = torch.cat([attack(context.take([i]), x[i : i + 1], y[i : i + 1]).x for i in range(len(x))])
    share = float(((together - alone).abs() > 1e-6).flatten(1).double().mean(dim=1).max())
    problem = (
        f"alone and in a batch, {share:.0%} of an image's result differ; draw from context.streams, image by image"
    )
    require(share < 0.02, f"{problem}, or let batch_dependent be True")


@CONTRACT.claim()
def something_is_changed(attack: Attack, bench: Bench) -> None:
    """It changes what it attacks."""
    context, x, y = some_context(attack, bench), bench.x, bench.y
    output: AttackOutput = attack(context, x, y)
    require(not torch.equal(output.x, x), "it returns the clean images")
    if attack.on_prediction:
        losses = [float(nn.functional.cross_entropy(context.model(images), y)) for images in (x, output.x)]
        require(
            losses[1] > losses[0], f"the cross-entropy goes from {losses[0]:.4g} to {losses[1]:.4g}; it should rise"
        )
    else:
        cosine = float(Cosine()(context.maps(x, y), context.maps(output.x, y)).nanmean())
        require(cosine < 1 - 1e-6, "maps of its results are those of the clean images")


@CONTRACT.claim()
def predictions_can_be_kept(attack: Attack, bench: Bench) -> None:
    """At least one image is feasible where the prediction has to be kept."""
    context = some_context(attack, bench)
    if context.threat.keep_prediction:
        output = attack(context, bench.x, bench.y)
        problem = f"on none of {len(bench.x)} images the prediction is kept; return the last iterate that keeps it"
        require(bool(output.feasible.any()), problem)


@CONTRACT.claim()
def nothing_moves_in_no_ball(attack: Attack, bench: Bench) -> None:
    """A ball of radius 0 holds the clean image alone."""
    context = allowed(attack, bench, eps=0.0)
    if context:
        results = raw(attack, context, bench.x, bench.y)
        require(all(bool(result.isfinite().all()) for result in results), "with eps=0 results are not finite")


@CONTRACT.claim()
def surrogates_are_followed(attack: Attack, bench: Bench) -> None:
    """Explainers without a derivative can be attacked."""
    context = some_context(attack, bench)
    explainer = SparsifiedSmoothGrad(samples=2)
    try:
        attack(bench.context(context.threat, explainer), bench.x, bench.y)
    except ValueError as error:
        hint = "; use the maps of context.followed" if "not differentiable" in str(error) else ""
        raise ClaimError(f"{error}{hint}") from error
