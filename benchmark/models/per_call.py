"""Networks of other packages, made to keep the contract of ours as far as they can."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from attrobust.benchmark.models.base import ImageFacts
from attrobust.explainers.captum_engine.private_copy import one_module_per_call
from attrobust.networks.smoothed import Normalize, make_out_of_place
from attrobust.networks.tracing import traced


def adopted(network: nn.Module, facts: ImageFacts) -> nn.Module:
    """A network of normalised images as one of pixels, see ``one_activation_per_call``."""
    parts = OrderedDict(normalize=Normalize(facts.mean, facts.std), network=one_activation_per_call(network, facts))
    return nn.Sequential(parts)


def one_activation_per_call(network: nn.Module, facts: ImageFacts) -> nn.Module:
    """The network in evaluation mode, with nothing in place and a module for each call of an activation.

    Where torch.fx cannot rewrite it, or it does something else while training than while evaluating, activations that
    it calls several times stay shared: explainers see to them, and replacing them by smooth ones is the same.
    """
    make_out_of_place(network)
    image = torch.zeros(1, facts.channels, facts.size, facts.size)
    try:
        if traced(network.train()).code != traced(network.eval()).code:
            return network
        rewritten = one_module_per_call(network.eval(), image).network
    except ValueError:
        return network.eval()
    return rewritten if rewritten.state_dict().keys() == network.state_dict().keys() else network
