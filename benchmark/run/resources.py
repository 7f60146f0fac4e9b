"""With how many processes and threads a run computes, and on which devices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.machine import cores, memory
from attrobust.process import seeded

SMALL = 2**22
"""Values of a batch's largest activation below which a network is computed with one thread.

A second thread made an attack's step 1.04 times as fast with 50,000 values, 1.37 times with 200,000 and 1.63 times with
800,000; a second process makes a run nearly twice as fast with any. Below this, the number of processes therefore
decides no rounding.
"""
WORTH = 400
"""Work that is worth starting processes for, see ``status.Left.work``."""
PROCESS_BYTES = 3 * 2**29
"""Memory that a process may need beside a run's own."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run computes with.

    Attributes:
        devices: of every process, as torch calls them; one for a run that stays in its own process.
        threads: of each.
    """

    devices: tuple[str, ...]
    threads: int

    @property
    def words(self) -> str:
        """As logs say it."""
        count = len(self.devices)
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{count} processes of {threads}" if count > 1 else threads


def choose(
    device: torch.device, workers: int | None, networks: Sequence[nn.Module], images: Tensor, *, jobs: int, work: int
) -> Resources:
    """What to compute with.

    Args:
        device: that was asked for.
        workers: how many processes were asked for; None to choose.
        networks: of the run.
        images: a batch, B×C×H×W.
        jobs: how many could be carried out at once.
        work: how much there is to do, see ``status.Left.work``.
    """
    threads = torch.get_num_threads()
    fixed = "OMP_NUM_THREADS" in os.environ
    on_cpu = device.type == "cpu"
    alone = on_cpu and not fixed and is_small(networks, images)
    each = 1 if alone else threads
    if workers is None:
        # A large network keeps all threads busy by itself.
        room = cores() // each if fixed or alone else 1
        room = room if on_cpu else (torch.cuda.device_count() if str(device) == "cuda" else 1)
        workers = max(1, min(room, jobs, memory() // PROCESS_BYTES)) if work >= WORTH else 1
    if not fixed and not alone:
        each = max(1, threads // workers)
    return Resources(devices=tuple(_device(device, number) for number in range(workers)), threads=each)


def is_small(networks: Sequence[nn.Module], images: Tensor) -> bool:
    """Whether one thread is enough for every network and a batch of images, on the CPU."""
    with seeded(0):
        largest = max((_largest(network, images[:1]) for network in networks), default=0)
    return len(images) * largest < SMALL


def _device(device: torch.device, number: int) -> str:
    if device.type == "cuda" and device.index is None:
        return f"cuda:{number % max(1, torch.cuda.device_count())}"
    return str(device)


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
