"""Captum's LRP with the rules set on a network's modules, differentiable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule, PropagationRule
from torch import Tensor, fx, nn
from torch.nn import functional

from explainers.lrp import LRP, NORMS, WEIGHTED, Propagation
from explainers.lrp_rules import Layer, shared
from explainers.tracing import Pass

EPSILON = PropagationRule.STABILITY_FACTOR


class CaptumLRP:
    """What Captum's ``LRP`` computes, by explicit propagation.

    Captum works on ``.data`` and restores weights in place, so that nothing of it can be differentiated, and drops the
    rules set on modules after the first call. This reads the same rules and leaves them.

    Args:
        model: with a ``rule`` of Captum's on any of its modules; ``EpsilonRule`` where there is none.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def attribute(self, inputs: Tensor, target: Any = None, *, return_convergence_delta: bool = False) -> Any:
        """Relevance, B×C×H×W, and where asked for the logit minus its sum, B; see Captum.

        Args:
            inputs: images, B×C×H×W.
            target: the class explained, one for all or int64[B].
            return_convergence_delta: as in Captum.

        Raises:
            ValueError: there is no rule for an operation of the network.
        """
        passed = Pass.of(self.model, inputs)
        labels = torch.as_tensor(target, device=inputs.device).expand(len(inputs))
        start = functional.one_hot(labels, passed.output.shape[1]) * passed.output
        relevance = _CaptumPropagation(LRP(rule="epsilon", epsilon=EPSILON), passed).to_the_image(start)
        if not return_convergence_delta:
            return relevance
        return relevance, start.sum(dim=1) - relevance.flatten(1).sum(dim=1)


@dataclass(frozen=True)
class _CaptumPropagation(Propagation):
    """Rules are those of modules, and a batch normalisation is a layer of its own."""

    def shares(self, node: fx.Node, relevance: Tensor) -> Iterable[tuple[fx.Node, Tensor]]:
        module = self.passed.module(node)
        rule = getattr(module, "rule", None)
        if isinstance(rule, IdentityRule):
            return [(self.passed.sources(node)[0], relevance)]
        if not isinstance(module, (*WEIGHTED, *NORMS)):
            return super().shares(node, relevance)
        (source,) = self.passed.sources(node)
        function = _function(module, EpsilonRule(EPSILON) if rule is None else rule)
        parts = (self.passed.values[source],)
        return [(source, shared(function, parts, relevance, getattr(rule, "STABILITY_FACTOR", EPSILON))[0])]


def _function(module: nn.Module, rule: Any) -> Any:
    """The layer with the weights a rule gives it."""
    if isinstance(module, NORMS) or type(rule) is EpsilonRule:
        return module.forward
    layer = Layer.of(module)  # type: ignore[arg-type]
    if type(rule) not in (GammaRule, Alpha1_Beta0_Rule):
        raise ValueError(f"LRP with {type(rule).__name__} cannot be made differentiable; use one of Captum's own rules")
    positive = layer.weight.clamp(min=0)
    weight = layer.weight + rule.gamma * positive if type(rule) is GammaRule else positive
    return Layer(layer.apply, weight, None if rule.set_bias_to_zero else layer.bias)
