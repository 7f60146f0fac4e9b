"""Layer-wise relevance propagation: Bach et al. 2015, with the rules of Montavon et al. 2017 and 2019."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from attrobust.explainers import register
from attrobust.explainers.base import Explainer
from attrobust.explainers.captum_engine.lrp_layers import layer_of, norm_of
from attrobust.explainers.captum_engine.lrp_rules import Layer, box_rule, epsilon_rule, gamma_rule, plus_rule, shared
from attrobust.networks.smoothed import PIECEWISE_LINEAR, SMOOTH, Normalize
from attrobust.networks.tracing import Pass

Rule = Literal["epsilon", "epsilon-plus", "gamma", "box"]


@register("lrp")
@dataclass(frozen=True, kw_only=True)
class LRP(Explainer):
    """Layer-wise relevance propagation from the explained logit (Bach et al. 2015, doi 10.1371/journal.pone.0130140).

    It is the LRP of AGA's evaluation. Relevance starts as the explained logit and goes back operation by operation.
    Convolutions and linear layers distribute it to their inputs in proportion to their contributions; activations,
    dropout and ``Normalize`` pass it on unchanged; max-pooling gives it to the largest input. Average-pooling, means,
    additions and batch normalisation distribute it by the epsilon rule, but a batch normalisation after a convolution
    or linear layer is merged into it.

    Values are those of zennit's composites, with three differences for operations that AGA's networks do not have:
    zennit passes relevance unchanged through a batch normalisation that follows no layer, passes the gradient through
    means, and has z^B for the first convolution only. Its ``epsilon`` and ``stabilizer`` are one setting here.

    On ReLU networks the rule ``epsilon`` is the input in normalised units times the gradient, up to epsilon itself. On
    softplus networks it is nearly meaningless, since relevance is divided by outputs near 0:
    over 256 test digits Σ|R| is 22 times the logit in the median and up to 34,000 times for the softplus network
    ``digits/aga``, against 2.1 and 7.6 times for the ReLU one ``digits/natural``. The other rules have such divisors
    in dense layers only: medians 1.0 to 1.2 and at most 13 times, against 0.9 to 1.2 and 3.0.

    Attributes:
        rule: ``epsilon`` has the epsilon rule everywhere; the others have it in linear layers and another in
            convolutions. ``epsilon-plus``: only positive products of input and weight count (alpha 1, beta 0).
            ``gamma``: products with the sign of their output count more. ``box``: like ``gamma``, but the first layer,
            whose input must be the image, has z^B for pixels in [0, 1] (Montavon et al. 2017, arXiv 1512.02479).
        epsilon: added to every divisor, away from 0.
        gamma: products with the sign of their output are multiplied by ``1 + gamma``.
    """

    varies_within_region: ClassVar[bool] = True

    rule: Rule = "epsilon-plus"
    epsilon: float = 1e-6
    gamma: float = 0.25

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule={self.rule} must be one of {', '.join(get_args(Rule))}")
        if not 1e-12 <= self.epsilon < math.inf:
            raise ValueError(f"epsilon={self.epsilon:g} must be finite and at least 1e-12")
        if not 0 <= self.gamma < math.inf:
            raise ValueError(f"gamma={self.gamma:g} must be finite and not negative")

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits.

        Raises:
            ValueError: torch.fx cannot trace the model, or there is no rule for one of its operations.
        """
        with nullcontext() if create_graph else torch.no_grad():
            passed = Pass.of(model, x)
            start = F.one_hot(target, passed.output.shape[1]) * passed.output
            return Propagation(self, passed).to_the_image(start)


def _operations(*names: str) -> frozenset[Any]:
    """The names of tensor methods, as in torch.fx graphs, and the functions of the same names."""
    spaces = (torch, F, operator)
    return frozenset(names) | {getattr(space, name) for space in spaces for name in names if hasattr(space, name)}


UNCHANGING = (Normalize, nn.Identity, nn.Flatten)
RESHAPES = _operations("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous")
PASSED = (Normalize, nn.Identity, nn.Dropout, nn.Dropout2d, *PIECEWISE_LINEAR, *SMOOTH)
PASSED_OPERATIONS = _operations(
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "tanh"),
    *("sigmoid", "hardtanh", "hardswish", "hardsigmoid", "dropout", "dropout2d"),
)
ROUTED = (nn.MaxPool2d, nn.Flatten)
ROUTED_OPERATIONS = RESHAPES | _operations("max_pool2d", "cat", "transpose", "permute", "getitem")
SHARED = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
SHARED_OPERATIONS = _operations("avg_pool2d", "adaptive_avg_pool2d", "mean", "add")
KNOWN = "Conv2d, Linear, batch norm, activations, dropout, max- and average-pooling, mean, reshaping, + and cat"


@dataclass(frozen=True)
class Propagation:
    """The propagation of relevance from the logits back to the image.

    Attributes:
        settings: of the explainer.
        passed: the forward pass; the values of its nodes are deleted once no rule needs them.
    """

    settings: LRP
    passed: Pass

    def to_the_image(self, start: Tensor) -> Tensor:
        """Relevance of the image, B×C×H×W, given that of the logits, ``start``."""
        image, *nodes, output = self.passed.graph.graph.nodes
        reached = {output.args[0]: start}
        for node in reversed(nodes):
            relevance = reached.pop(node, None)
            if relevance is not None and node.op != "get_attr":
                for source, part in self.shares(node, relevance):
                    reached[source] = reached[source] + part if source in reached else part
            del self.passed.values[node]
        return reached.get(image, torch.zeros_like(self.passed.values[image]))

    def shares(self, node: fx.Node, relevance: Tensor) -> Iterable[tuple[fx.Node, Tensor]]:
        """The relevance of a node, distributed to its sources."""
        module, sources = self.passed.module(node), self.passed.sources(node)
        operation = node.target if module is None else None
        layer, norm = layer_of(self.passed, node), norm_of(self.passed, node)
        if layer is not None:
            return [(sources[0], self._by_rule(node, layer, relevance))]
        before = layer_of(self.passed, sources[0]) if norm is not None else None
        if norm is not None and before is not None:
            return [(self.passed.sources(sources[0])[0], self._by_rule(sources[0], before.then(norm), relevance))]
        if isinstance(module, PASSED) or operation in PASSED_OPERATIONS:
            return [(sources[0], relevance)]
        function, parts = self.passed.function(node), tuple(self.passed.values[source] for source in sources)
        # An item of several tensors, as chunk gives them, has no source that is a tensor.
        if sources and (isinstance(module, ROUTED) or operation in ROUTED_OPERATIONS):
            return zip(sources, torch.func.vjp(function, *parts)[1](relevance), strict=True)
        if norm is not None:
            # Statistics and weights of a function are constants.
            (share,) = shared(lambda a: function(a, *parts[1:]), parts[:1], relevance, self.settings.epsilon)
            return [(sources[0], share)]
        if isinstance(module, SHARED) or operation in SHARED_OPERATIONS:
            return zip(sources, shared(function, parts, relevance, self.settings.epsilon), strict=True)
        raise self.refusal(node)

    def refusal(self, node: fx.Node) -> ValueError:
        """The error that names a node without a rule."""
        module = self.passed.module(node)
        what = getattr(node.target, "__name__", node.target) if module is None else type(module).__name__
        return ValueError(f"lrp has no rule for node {node.name!r} ({what}); it knows {KNOWN}")

    def _by_rule(self, node: fx.Node, layer: Layer, relevance: Tensor) -> Tensor:
        """Relevance of the input of a convolution or linear layer."""
        rule, epsilon = self.settings.rule, self.settings.epsilon
        source = self.passed.sources(node)[0]
        a = self.passed.values[source]
        if rule == "box" and node is self._first():
            return box_rule(layer, a, self._extreme(source, 0), self._extreme(source, 1), relevance, epsilon)
        if rule == "epsilon" or not layer.is_convolution:
            return epsilon_rule(layer, a, relevance, epsilon)
        if rule == "epsilon-plus":
            return plus_rule(layer, a, relevance, epsilon)
        return gamma_rule(layer, a, relevance, epsilon, self.settings.gamma)

    def _first(self) -> fx.Node:
        nodes: Iterable[fx.Node] = self.passed.graph.graph.nodes
        return next(node for node in nodes if layer_of(self.passed, node) is not None)

    def _extreme(self, node: fx.Node, level: float) -> Tensor:
        """The value of a node if all pixels had this level; raises ValueError for a node that is not the image."""
        if node.op == "placeholder":
            return torch.full_like(self.passed.values[node], level)
        module = self.passed.module(node)
        if not (node.target in RESHAPES if module is None else isinstance(module, UNCHANGING)):
            raise ValueError(f"rule box needs a first layer that reads the normalised image, not {node.name!r}")
        return self.passed.function(node)(self._extreme(self.passed.sources(node)[0], level))  # type: ignore[no-any-return]
