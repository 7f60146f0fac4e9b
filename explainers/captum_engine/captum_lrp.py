"""Captum's LRP with the rules set on a network's modules, differentiable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule, PropagationRule
from torch import Tensor, fx, nn
from torch.nn import functional

from attrobust.explainers.captum_engine.lrp_layers import FUNCTIONS, NORMS, WEIGHTED
from attrobust.explainers.captum_engine.lrp_rules import Layer, shared
from attrobust.explainers.lrp import LRP, Propagation
from attrobust.networks.tracing import Pass

POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
EPSILON = PropagationRule.STABILITY_FACTOR


class CaptumLRP:
    """The values of Captum's ``LRP``, by explicit propagation, differentiable.

    Captum's works on ``.data`` and restores weights in place, so that it cannot be differentiated, and it removes the
    rules set on modules after the first call. This class reads the same rules and does not remove them.

    Args:
        model: its modules may have a ``rule`` of Captum's; those without have ``EpsilonRule``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def attribute(
        self,
        inputs: Tensor,
        target: int | Tensor | None = None,
        additional_forward_args: None = None,
        return_convergence_delta: bool = False,
        verbose: bool = False,
    ) -> Any:
        """Relevance, B×C×H×W; with ``return_convergence_delta`` also the logit minus its sum, B.

        Args:
            inputs: images, B×C×H×W. All arguments are Captum's.
            target: the class explained, one for all or integers[B]; None for a network with one output.
            additional_forward_args: None; the network takes images only.
            return_convergence_delta: whether to return both.
            verbose: without effect.

        Raises:
            ValueError: there is no rule for an operation of the network.
        """
        passed = Pass.of(self.model, inputs)
        classes = passed.output.shape[1]
        if target is None and classes > 1:
            raise ValueError(f"target must say which of the {classes} outputs is explained")
        labels = torch.as_tensor(0 if target is None else target, device=inputs.device).long() % classes
        start = functional.one_hot(labels.expand(len(inputs)), classes) * passed.output
        relevance = _CaptumPropagation(LRP(rule="epsilon", epsilon=EPSILON), passed).to_the_image(start)
        if not return_convergence_delta:
            return relevance
        return relevance, start.sum(dim=1) - relevance.flatten(1).sum(dim=1)


@dataclass(frozen=True)
class _CaptumPropagation(Propagation):
    """Propagation with the rules set on modules; batch normalisation is not merged into the layer before it."""

    def shares(self, node: fx.Node, relevance: Tensor) -> Iterable[tuple[fx.Node, Tensor]]:
        module = self.passed.module(node)
        rule = getattr(module, "rule", None)
        if isinstance(rule, IdentityRule):
            return [(self.passed.sources(node)[0], relevance)]
        if node.target in FUNCTIONS:
            raise self.refusal(node)  # Captum sets its rules on modules.
        if not isinstance(module, (*WEIGHTED, *NORMS, *POOLINGS)):
            return super().shares(node, relevance)
        (source,) = self.passed.sources(node)
        function = _function(module, EpsilonRule(EPSILON) if rule is None else rule)
        parts = (self.passed.values[source],)
        return [(source, shared(function, parts, relevance, getattr(rule, "STABILITY_FACTOR", EPSILON))[0])]


def _function(module: nn.Module, rule: Any) -> Any:
    """The layer with the weights a rule gives it."""
    if not isinstance(module, WEIGHTED) or type(rule) is EpsilonRule:
        return module.forward
    layer = Layer.of(module)
    if type(rule) not in (GammaRule, Alpha1_Beta0_Rule):
        raise ValueError(f"LRP with {type(rule).__name__} cannot be made differentiable; use one of Captum's own rules")
    positive = layer.weight.clamp(min=0)
    weight = layer.weight + rule.gamma * positive if type(rule) is GammaRule else positive
    return Layer(layer.apply, weight, None if rule.set_bias_to_zero else layer.bias)
