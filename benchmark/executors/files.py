"""The files of a run that jobs need, and those that come back with results, where not every machine sees its folder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from attrobust.benchmark.checkpoints.source import WeightFile
from attrobust.benchmark.executors.base import Job
from attrobust.benchmark.executors.jobs import AuditJob, BatchJob, CellJob, NetworkJob, RetrainingJob, Source
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.executors.node import MADE, Files
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.training.job import TrainingJob
from attrobust.files import write_atomically


class RunFiles:
    """The files in the folder of a run that jobs share.

    Args:
        folder: of the run.
        networks: of the run.
    """

    def __init__(self, folder: Path, networks: Networks) -> None:
        self.folder = folder
        self._networks = networks
        self._known: dict[str, list[str]] = {}

    def needed(self, job: Job) -> list[str]:
        """The files that a job needs, as far as they are there, by their path in the folder."""
        whole = job.whole if isinstance(job, (BatchJob, RetrainingJob)) else job
        names: list[str] = []
        if isinstance(whole, NetworkJob):
            names += self._of(whole.source)
        elif isinstance(whole, (CellJob, AuditJob)):
            names += self._of(whole.network.source)
        if isinstance(whole, CellJob) and whole.source_model:
            names += self._of(whole.source_model.source)
        if isinstance(whole, CellJob) and whole.scope == "training":
            names += [f"retrainings/{path.name}" for path in sorted((self.folder / "retrainings").glob("*.hits"))]
        return list(dict.fromkeys(names))

    def take_in(self, files: Files) -> None:
        """Write files that a job has made: a card after its weights, so that none is without them."""
        order = {suffix: place for place, suffix in enumerate(itertools.chain(*MADE.values()))}
        for name in files:
            room, _, file = name.rpartition("/")
            if file != Path(file).name or Path(file).suffix not in MADE.get(room, ()):
                raise ValueError(f"a node hands back {name!r}, which no job makes")
        for name in sorted(files, key=lambda name: (order[Path(name).suffix], name)):
            write_atomically(self.folder / name, files[name])

    def _of(self, source: Source) -> list[str]:
        """The weights that a run has trained for a network, and those that it went on from."""
        if not isinstance(source, TrainingJob):
            return []
        if source.key not in self._known:
            before = self._of(source.before) if source.before else []
            origin, checkpoint = self._networks.origin(source)
            if origin != "trained" or checkpoint is None:
                return before
            paths = (checkpoint.weights, checkpoint.weights.with_suffix(".toml"))
            self._known[source.key] = [*before, *(f"checkpoints/{path.name}" for path in paths)]
        return self._known[source.key]


def users_files(request: Request, plugins: Sequence[Path]) -> tuple[tuple[Path, bytes], ...]:
    """Plug-ins, weights and their cards, which a node may lack, by the paths that the request has for them."""
    paths = list(plugins)
    for item in request.checkpoints:
        if isinstance(item.source, WeightFile):
            paths += [item.source.path, item.source.path.with_suffix(".toml")]
    return tuple((path, path.read_bytes()) for path in dict.fromkeys(paths) if path.is_file())
