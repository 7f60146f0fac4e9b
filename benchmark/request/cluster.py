"""Where jobs are carried out that are not carried out here: ``--executor ray[:ADDRESS]``."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

from attrobust.numbers import parse_number
from attrobust.types import UsageError

Wanted = Literal["auto", "cpu", "cuda"]
"""What nodes compute on; with ``auto`` on GPUs where there are any."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """What was asked for of a Ray cluster.

    Attributes:
        address: of its head, ``auto`` for the one that this machine belongs to.
        gpus_per_job: share of a GPU, or number of them; None to choose.
        device: what nodes compute on.
    """

    address: str = "auto"
    gpus_per_job: float | None = None
    device: Wanted = "auto"

    def gpus(self, there: float) -> float:
        """GPUs of a job in a cluster that has so many.

        Raises:
            UsageError: they were asked for and there are none.
        """
        wanted = self.gpus_per_job
        if wanted is None:
            wanted = 0.0 if self.device == "cpu" or (self.device == "auto" and not there) else 1.0
        if wanted and not there:
            raise UsageError("no node of the cluster has a GPU; use --device cpu, or start nodes that have one")
        return wanted


def parse_executor(executor: str, gpus_per_job: str | None, device: str) -> ClusterSettings | None:
    """Resolve ``--executor`` with the options that go with it; None for this machine alone.

    Raises:
        UsageError: an unknown executor, a wrong number of GPUs, a device that only this machine has, or no Ray here.
    """
    name, colon, address = executor.partition(":")
    if executor == "local":
        if gpus_per_job is not None:
            raise UsageError("--gpus-per-job is for --executor ray; here every GPU has a process, see --workers")
        return None
    if name != "ray" or (colon and not address):
        raise UsageError(f"--executor {executor} must be local, ray or ray:ADDRESS, e.g. ray:10.0.0.1:6379")
    gpus = None if gpus_per_job is None else _gpus(gpus_per_job)
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: Ray says which GPU is whose; use auto, cpu or cuda with --executor ray")
    if device == "cpu" and gpus:
        raise UsageError(f"--gpus-per-job {gpus_per_job} needs GPUs, and --device cpu uses none; leave one of them out")
    if device == "cuda" and gpus == 0:
        raise UsageError("--gpus-per-job 0 uses no GPU, and --device cuda needs one; leave one of them out")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--executor ray needs Ray, which is not installed here: pip install 'attrobust[cluster]'")
    return ClusterSettings(address=address or "auto", gpus_per_job=gpus, device=device)  # type: ignore[arg-type]


def _gpus(text: str) -> float:
    try:
        value = parse_number(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (value > 1 and value != int(value)):
        raise UsageError(f"--gpus-per-job {text} must be a share such as 0.25, or a whole number from 0")
    return value
