"""Relevance of attention probabilities, by the rules of Chefer, Gur and Wolf 2021 (arXiv 2012.09838).

Relevance starts as 1 at the explained logit and goes back call by call. Linear layers share it among inputs in
proportion to their positive products with the weights. Products of two matrices and sums share it in proportion to
contributions, scaled so that both parts together have what came in, each by its size. Softmax, layer normalisation,
activations, dropout and factors or summands that do not depend on the image pass it on. Constants are the authors'.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.explainers.captum_engine.lrp_rules import Layer, plus_rule, shared
from attrobust.explainers.shared.attention import PRODUCTS, Attended, Step

EPSILON = 1e-9
"""Added to every divisor, away from 0."""
PASSED = {
    *("softmax", "layer_norm", "dropout", "relu", "gelu", "silu", "elu", "selu", "celu", "leaky_relu", "relu6"),
    *("tanh", "sigmoid", "softplus", "hardswish", "mish", "contiguous", "clone", "to", "float", "double"),
}
ROUTED = {
    *("reshape", "view", "flatten", "unflatten", "transpose", "permute", "swapaxes", "movedim", "squeeze"),
    *("unsqueeze", "expand", "getitem", "select", "narrow", "index_select", "chunk", "split", "unbind"),
    *("cat", "concat", "stack", "mT", "T"),
}
BY_CONSTANTS = {"add", "mul", "sub", "div", "truediv"}
"""They pass relevance on to the one argument that depends on the image; of the last three it is the first."""
KNOWN = "Linear, LayerNorm, softmax, activations, dropout, reshaping, mean, sums, and products of two matrices"


def relevances(attended: Attended, target: Tensor) -> list[Tensor]:
    """Relevance of the attention probabilities of every layer, in their shapes; that of the image is not needed.

    Args:
        attended: the pass.
        target: the class explained, int64[B].

    Raises:
        ValueError: there is no rule for a call between the first attention and the logits.
    """
    tape, logits = attended.tape, attended.logits
    reached = {id(logits): F.one_hot(target, logits.shape[1]).to(logits)}
    found: dict[int, Tensor] = {}
    for index in range(len(tape.steps) - 1, min(tape.attention) - 1, -1):
        step = tape.steps[index]
        given = [reached.pop(id(output), None) for output in step.outputs]
        if all(part is None for part in given):
            continue
        whole = [
            torch.zeros_like(output) if part is None else part for part, output in zip(given, step.outputs, strict=True)
        ]
        for source, share in zip(step.sources, shares(step, whole, len(target)), strict=True):
            reached[id(source)] = reached[id(source)] + share if id(source) in reached else share
            if source is tape.attention.get(index):
                found[index] = share
    return [found.get(index, torch.zeros_like(layer)) for index, layer in tape.attention.items()]


def shares(step: Step, relevance: Sequence[Tensor], images: int) -> Sequence[Tensor]:
    """The relevance of a call's outputs, shared among its sources.

    Args:
        step: the call.
        relevance: of each output.
        images: their number, the length of the first axis.

    Raises:
        ValueError: there is no rule for it.
    """
    if step.versions != tuple(source._version for source in step.sources):
        raise ValueError(f"this network writes into what {step.name!r} was computed from: compute out of place")
    alone = len(step.sources) == 1
    if alone and (step.name in PASSED or _is_by_a_constant(step)):
        return [relevance[0]]
    if step.name in ROUTED:
        several = isinstance(step.of(*step.sources), (tuple, list))
        pull_back = torch.func.vjp(step.of, *step.sources)[1]
        return pull_back(tuple(relevance) if several else relevance[0])  # type: ignore[no-any-return]
    if step.name == "linear" and alone:
        given = dict(zip(("input", "weight"), step.args, strict=False)) | step.settings
        if given["input"] is step.sources[0]:
            return [plus_rule(Layer(F.linear, given["weight"], None), step.sources[0], relevance[0], EPSILON)]
    if step.name == "mean":
        return shared(step.of, step.sources, relevance[0], EPSILON)
    if step.name in PRODUCTS and not alone:
        # Both parts have the same sum, so scaling takes half of each.
        return [part / 2 for part in shared(step.of, step.sources, relevance[0], EPSILON)]
    if step.name == "add" and relevance[0].shape[0] == images:
        return normalised(shared(step.of, step.sources, relevance[0], EPSILON), relevance[0])
    raise ValueError(f"transformer-attribution has no rule for {step.name!r} of this network; it knows {KNOWN}")


def _is_by_a_constant(step: Step) -> bool:
    live = [argument is step.sources[0] for argument in step.args]
    return step.name in BY_CONSTANTS and sum(live) == 1 and (live[0] or step.name in ("add", "mul"))


def normalised(parts: Sequence[Tensor], relevance: Tensor) -> list[Tensor]:
    """Parts of relevance scaled so that, image by image, they sum to it, each by its size."""
    total = _sums(relevance)
    sums = [_sums(part) for part in parts]
    size = sum(value.abs() for value in sums)
    return [
        part * torch.where(value == 0, 0.0, value.sign() * total / torch.where(value == 0, 1.0, size))
        for part, value in zip(parts, sums, strict=True)
    ]


def _sums(x: Tensor) -> Tensor:
    """Of each image, with axes of length 1 for the others."""
    return x.sum(dim=tuple(range(1, x.dim())), keepdim=True)
