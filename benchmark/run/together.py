"""How many images of each cell are attacked together: as many as fit into memory, the same for every cell that can."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.executors.jobs import CellJob, Source
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.memory import Peak, bound, fitting, measured, most
from attrobust.benchmark.training.job import TrainingJob
from attrobust.explainers.shared.chunks import default_chunk, saved_bytes
from attrobust.files import size_words
from attrobust.machine import memory, resident
from attrobust.naming.spec import fingerprint
from attrobust.networks.randomised import layers
from attrobust.process import seeded

LOG = logging.getLogger("attrobust")
SHARE = 0.5
"""Of the memory that is free, what a run takes without ``--memory``; its processes divide it."""
PROBES = 2
"""Images that peaks are measured with."""


class Together:
    """Chooses batches, and knows what they take.

    A batch is the largest power of two that fits, at most ``Request.most_together``, so that memory that is a little
    less free changes nothing. What depends on the batch, see ``Attack.batch_dependent``, keeps its own.

    Args:
        request: of the run.
        networks: by name of their method or checkpoint, evaluating, on the CPU.
        images: a few of those that are attacked, B×C×H×W.
        processes: how many share the memory.
    """

    def __init__(self, request: Request, networks: Mapping[str, nn.Module], images: Tensor, processes: int) -> None:
        self._request, self._networks = request, networks
        self._images = images[:PROBES] if len(images) >= PROBES else images[:1].repeat(PROBES, 1, 1, 1)
        self.base = 0 if request.device.type == "cuda" else resident()
        self.room = self._room(processes)
        """Bytes that a batch may take."""
        self._saved: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._layers: dict[int, str] = {}
        self._peaks: dict[str, tuple[Peak, ...]] = {}
        self._sizes: dict[str, int] = {}

    def network(self, source: Source) -> nn.Module:
        """The network that stands for one of the run: it has the same layers."""
        return self._networks.get(name_of(source)) or next(iter(self._networks.values()))

    def layers(self, network: nn.Module) -> str:
        """The layers of a network in words; those of the same ones cost the same."""
        if id(network) not in self._layers:
            self._layers[id(network)] = repr(network)
        return self._layers[id(network)]

    def count_of_layers(self, network: nn.Module) -> int:
        """How many layers can be randomised."""
        if id(network) not in self._counts:
            with seeded(0):
                self._counts[id(network)] = len(layers(network, self._images[:1].clone()))
        return self._counts[id(network)]

    def saved(self, network: nn.Module) -> int:
        """Bytes that autograd saves for an image in float32."""
        if id(network) not in self._saved:
            with seeded(0):
                self._saved[id(network)] = saved_bytes(network, self._images[:1].clone())
        return self._saved[id(network)]

    def size(self, job: CellJob) -> int:
        """How many images of a cell are attacked together; measured for the first cell of a kind."""
        kind = self._kind(job)
        if kind not in self._sizes:
            self._sizes[kind] = self._chosen(job)
        return self._sizes[kind]

    def peak(self, job: CellJob) -> int:
        """Bytes that a process has at the peak of a cell, measured; a bound where the system does not say."""
        return self.base + most(self._peak(job), min(self.size(job), job.cell.images))

    def choose(self, jobs: Iterable[CellJob]) -> list[str]:
        """Choose for cells; returns a line of warning for each kind that does not fit as it was asked for."""
        kinds = {self._kind(job): job for job in jobs}
        tight = [job for job in kinds.values() if not self._surely_fits(job)]
        bar = tqdm(tight, desc="measuring memory", leave=False, disable=None)
        return list(dict.fromkeys(line for job in bar if (line := self._warning(job, self.size(job)))))

    @property
    def is_short(self) -> bool:
        """Whether some batch is smaller than ``Request.most_together``."""
        return any(size < self._request.most_together for size in self._sizes.values())

    def _chosen(self, job: CellJob) -> int:
        asked = self._request.most_together
        if self._is_fixed(job) or self._surely_fits(job):
            return asked
        fits = self._fitting(job)
        return asked if fits >= min(asked, job.cell.images) else fits

    def _is_fixed(self, job: CellJob) -> bool:
        """Whether memory has no say: a batch was typed or decides results, or a cell is not computed in batches."""
        whole = job.scope == "training" or (job.scope == "accuracy" and job.attack is None)
        return whole or self._request.batch_size is not None or bool(job.cell.batch_size)

    def _fitting(self, job: CellJob) -> int:
        """The largest power of two of images that fit, at least 1."""
        return 1 << (fitting(self._peak(job), self.room).bit_length() - 1)

    def _surely_fits(self, job: CellJob) -> bool:
        largest = bound(job, self.saved(self.network(job.network.source)), self._chunk)
        return largest.of(min(self._request.most_together, job.cell.images)) <= self.room

    def _peak(self, job: CellJob) -> tuple[Peak, ...]:
        kind = self._kind(job)
        if kind not in self._peaks:
            network = self.network(job.network.source)
            try:
                found = measured(job, network, self._images, self._request.device, self._request.chunks)
            except Exception as error:  # whatever a plug-in, or an explainer that does not suit the network, raises
                LOG.debug("%s: %s: %s", job.label, type(error).__name__, error)
                found = ()
            self._peaks[kind] = found or (bound(job, self.saved(network), self._chunk),)
        return self._peaks[kind]

    @property
    def _chunk(self) -> int:
        return self._request.chunks or default_chunk(self._request.device)

    def _room(self, processes: int) -> int:
        device, asked = self._request.device, self._request.memory
        if asked is not None:
            return max(0, asked - self.base)
        if device.type == "cuda":
            return int(SHARE * torch.cuda.mem_get_info(device)[0])
        return int(SHARE * memory() / processes)

    def _kind(self, job: CellJob) -> str:
        """Of cells that take the same memory."""
        attack = job.attack.canonical if job.attack else None
        return fingerprint([self.layers(self.network(job.network.source)), job.cell.explainer, attack, job.cell.images])

    def _warning(self, job: CellJob, size: int) -> str:
        """What may not fit, in words; empty where all does."""
        taken = min(size, job.cell.images)
        peak = most(self._peak(job), taken)
        if peak <= self.room:
            return ""
        what = job.label.partition(" / ")[2]
        said = f"{what}: {taken} image{'s' if taken > 1 else ''} at a time may take {size_words(self.base + peak)}"
        whole = self.base + self.room if self._request.memory is None else self._request.memory
        allowed = f"more than the {size_words(whole)} of {self._source}"
        fits = self._fitting(job)
        advice = f"--batch-size {fits} would fit" if fits < taken else "raise --memory or make images smaller"
        return f"{said}, {allowed}; {advice}"

    @property
    def _source(self) -> str:
        return "--memory" if self._request.memory is not None else "half of the memory that is free"


def name_of(source: Source) -> str:
    """The method or checkpoint that a network is built for."""
    if isinstance(source, TrainingJob):
        return source.method.label
    return source.name if isinstance(source, ExternalCheckpoint) else ""
