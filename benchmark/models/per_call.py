"""Adapts networks of other packages to the contract of ``ModelFamily``, as far as possible."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from attrobust.networks.private_copy import one_module_per_call
from attrobust.networks.smoothed import Normalize, make_out_of_place
from attrobust.networks.tracing import traced
from attrobust.types import ImageFacts


def adopted(network: nn.Module, facts: ImageFacts) -> nn.Module:
    """A network for normalised images with a normalisation layer in front; see ``one_activation_per_call``."""
    parts = OrderedDict(normalize=Normalize(facts.mean, facts.std), network=one_activation_per_call(network, facts))
    return nn.Sequential(parts)


def one_activation_per_call(network: nn.Module, facts: ImageFacts) -> nn.Module:
    """The network in evaluation mode, with nothing computed in place and one module for each call of an activation.

    Where torch.fx cannot rewrite it, or its graph differs between training and evaluation, modules that are called
    several times stay shared. Explainers handle that themselves, and smoothed models are the same either way.
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
