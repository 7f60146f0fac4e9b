"""How many threads a CPU computes with: no more than the network and the batch are worth."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attrobust.process import seeded

WORTH = 2**16
"""Values of a batch's largest activation that are worth a thread.

Measured for an attack's step with two threads in place of one, as CPU time and as how much sooner the calling thread is
done with its share: 50,000 values take 1.31 times the time and are done 1.04 times as fast, 100,000 take 1.21 for 1.19,
200,000 take 1.12 for 1.37, and 800,000, which are 64 images of the default, 1.09 for 1.63.
"""


def threads_for(networks: Sequence[nn.Module], images: Tensor) -> int:
    """How many threads to compute with; those that torch has now where ``OMP_NUM_THREADS`` says so, and never more.

    Args:
        networks: of a run, on the CPU.
        images: a batch, B×C×H×W.
    """
    now = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ:
        return now
    with seeded(0):
        largest = max((_largest(network, images[:1]) for network in networks), default=0)
    return min(now, max(1, len(images) * largest // WORTH))


def _largest(network: nn.Module, image: Tensor) -> int:
    """Values of the largest tensor that autograd saves for one image, parameters apart."""
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    sizes = [0]

    def note(tensor: Tensor) -> Tensor:
        sizes.append(0 if tensor.data_ptr() in weights else tensor.numel())
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(image.clone().requires_grad_())
    return max(sizes)
