"""The network that explainers of transformers are tried on."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from attrobust.benchmark.contract.bench import Bench
from attrobust.networks.smoothed import Normalize
from attrobust.types import ImageFacts


def small_transformer(facts: ImageFacts, seed: int = 0) -> nn.Module:
    """torchvision's vision transformer of two layers, with random weights, evaluating.

    Args:
        facts: of the images it is for.
        seed: of the weights.
    """
    # Imported here, since other starts need not wait for it.
    from torchvision.models import VisionTransformer

    patch = next(size for size in range(facts.size // 3, 0, -1) if facts.size % size == 0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = VisionTransformer(facts.size, patch, 2, 2, hidden_dim=16, mlp_dim=24, num_classes=facts.classes)
        # torchvision's are zero, which gives all images the same logits.
        nn.init.normal_(network.heads.head.weight)
        stem = nn.Conv2d(facts.channels, 3, 1)
    return nn.Sequential(Normalize(facts.mean, facts.std), stem, network).eval()


def attentive(bench: Bench) -> Bench:
    """A bench whose networks are transformers."""
    return dataclasses.replace(
        bench, network=small_transformer(bench.facts), smooth=small_transformer(bench.facts, seed=1)
    )
