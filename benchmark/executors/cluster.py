"""Jobs on the nodes of a Ray cluster: what a node loses is begun again on another.

Each process on a node is an actor, which lives as long as the run: it has read the images and holds the network that it
used last. A task would do so only by chance, would keep the GPU memory of networks after it has ended, and would have
its GPU changed under a torch that has seen another. Ray restarts no actor and repeats no job: the driver counts losses,
hands jobs out again, and asks for another actor where the cluster has room for one.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from attrobust import __version__
from attrobust.benchmark.executors.base import Job, Prepare, Result, one_line
from attrobust.benchmark.executors.connection import Connection, signals_wait
from attrobust.benchmark.executors.files import RunFiles
from attrobust.benchmark.executors.node import TOKEN, Answer, Facts, Node
from attrobust.benchmark.executors.pool import ATTEMPTS, PATIENCE, Pool
from attrobust.benchmark.executors.process import heard
from attrobust.files import write_atomically
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
MOMENT = 0.2
"""Seconds after which a signal is seen at the latest."""
COUNTED = 5.0
"""Seconds for which the number of nodes is taken to be what it was."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a job takes of a node."""

    cpus: int
    gpus: float

    @property
    def words(self) -> str:
        """As logs say it."""
        threads = f"{self.cpus} thread{'s' if self.cpus > 1 else ''}"
        return f"{threads} and {self.gpus:g} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else threads

    def fits(self, cpus: float, gpus: float) -> int:
        """How many such jobs find room at once."""
        return int(min(cpus / self.cpus, gpus / self.gpus if self.gpus else cpus))


@dataclass(eq=False)
class _Actor:
    """A process on a node.

    Attributes:
        handle: of Ray.
        answer: what it is asked for now, to start or to carry out ``job``.
        node: where it is, as far as that is known.
        sees: whether it sees the run's folder.
        has: files that it was told of.
        failures: starts that had failed when it was asked for.
    """

    handle: Any
    answer: Any
    failures: int
    job: Job | None = None
    node: str = ""
    sees: bool = True
    has: set[str] = field(default_factory=set)


class Cluster(Pool):
    """Carries out jobs on a Ray cluster.

    Args:
        connection: to the cluster.
        share: what a job takes.
        most: how many jobs at once; None for as many as find room.
        parcel: a pickled ``node.Parcel``, whose folder and token are those of ``files`` and ``token``.
        files: of the run.
        token: see ``node.TOKEN``.
        environment: see ``node.Node.start``.

    Raises:
        UsageError: no node is large enough for a job.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        share: Share,
        most: int | None,
        parcel: bytes,
        files: RunFiles,
        token: str,
        environment: dict[str, str],
    ) -> None:
        super().__init__()
        self._connection, self._ray = connection, connection.ray
        self._share, self._most, self._files, self._token = share, most, files, token
        self._actors: list[_Actor] = []
        self._waiting: deque[Job] = deque()
        self._objects: dict[str, Any] = {}
        self._size, self._counted = 0, float("-inf")
        self._failed_starts, self._lost_nodes = 0, connection.lost_nodes()
        if not self._places:
            raise UsageError(
                f"no node of the cluster has the {share.words} that a job takes here; set OMP_NUM_THREADS to fewer, "
                "or see --gpus-per-job"
            )
        self._remote = self._ray.remote(Node).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._start = (Facts.here(), environment, self._ray.put(parcel))

    def run(self, jobs: Sequence[Job], prepare: Prepare) -> Iterator[tuple[Job, Result]]:
        """See ``Executor.run``."""
        write_atomically(self._files.folder / TOKEN, self._token)
        nodes = len(self._connection.nodes())
        count = f"{nodes} node{'s' if nodes > 1 else ''}"
        LOG.info("computing on a Ray cluster of %s: up to %d jobs of %s", count, self._places, self._share.words)
        yield from super().run(jobs, prepare)

    def close(self) -> None:
        """End all actors, whatever they are doing, and leave the cluster."""
        if not self._connection.open:
            return
        with signals_wait():
            ends = [actor.handle.end.remote() for actor in self._actors if actor.answer is None]
            if ends:
                self._ray.wait(ends, num_returns=len(ends), timeout=PATIENCE)
            for actor in self._actors:
                self._ray.kill(actor.handle)
            self._actors.clear()
            self._connection.close()
            (self._files.folder / TOKEN).unlink(missing_ok=True)

    @property
    def _places(self) -> int:
        """How many jobs find room on the nodes that there are."""
        if time.monotonic() - self._counted > COUNTED:
            before, nodes = self._size, self._connection.nodes()
            self._size = sum(self._share.fits(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes)
            self._size = self._size if self._most is None else min(self._most, self._size)
            self._counted = time.monotonic()
            if before and not self._size:
                LOG.warning("the cluster has no node left that has room for a job; waiting for one")
        return self._size

    @property
    def _has_room(self) -> bool:
        return self._busy < self._places

    @property
    def _busy(self) -> int:
        return len(self._waiting) + sum(actor.job is not None for actor in self._actors)

    def _hand_out(self, job: Job) -> None:
        self._waiting.append(job)

    def _finished(self) -> list[tuple[Job, Result]]:
        """See ``Pool``."""
        with signals_wait():
            self._employ()
            asked = {actor.answer: actor for actor in self._actors if actor.answer is not None}
            if not asked:
                time.sleep(MOMENT)
                return []
            ready, _ = self._ray.wait(list(asked), timeout=MOMENT)
            return [done for answer in ready for done in self._hear(asked[answer])]

    def _employ(self) -> None:
        """Give waiting jobs to actors that have none, and ask for more actors where there is room."""
        for actor in [actor for actor in self._actors if actor.answer is None][: len(self._waiting)]:
            self._give(actor, self._waiting.popleft())
        starting = sum(actor.job is None for actor in self._actors)
        for _ in range(min(len(self._waiting) - starting, self._places - len(self._actors))):
            handle = self._remote.remote()
            answer = handle.start.remote(*self._start)
            self._actors.append(_Actor(handle=handle, answer=answer, failures=self._failed_starts))

    def _give(self, actor: _Actor, job: Job) -> None:
        names = [name for name in self._files.needed(job) if name not in actor.has]
        contents = [] if actor.sees else [self._object(name) for name in names]
        actor.job, actor.answer = job, actor.handle.carry_out.remote(pickle.dumps(job), names, *contents)
        actor.has |= set(names)

    def _object(self, name: str) -> Any:
        """The content of a file of the run, once for all nodes."""
        if name not in self._objects:
            self._objects[name] = self._ray.put((self._files.folder / name).read_bytes())
        return self._objects[name]

    def _hear(self, actor: _Actor) -> list[tuple[Job, Result]]:
        """Take in what an actor answers, or that it is gone."""
        try:
            answer: Answer = self._ray.get(actor.answer)
        except self._ray.exceptions.RayError as error:
            return self._gone(actor, error)
        job, actor.job, actor.answer = actor.job, None, None
        actor.node, actor.sees, self._failed_starts = answer.node, answer.sees, 0
        self._files.take_in(answer.files)
        actor.has |= set(answer.files)
        results = [result for message in answer.messages if (result := heard(message)) is not None]
        return [(job, result) for result in results] if job else []

    def _gone(self, actor: _Actor, error: Exception) -> list[tuple[Job, Result]]:
        """Do without an actor that is lost; its job is handed out again."""
        self._actors.remove(actor)
        self._ray.kill(actor.handle)
        LOG.debug("Ray: %s", " ".join(str(error).split()), extra={"file_only": True})
        self._counted = float("-inf")
        cause = self._cause(error, actor.node)
        if actor.job is not None:
            return self._lost(actor.job, "its worker was lost", cause)
        if "creation task" in str(error):
            reason = str(error).rstrip().splitlines()[-1]
            raise UsageError(f"a node cannot import attrobust ({reason}); install {__version__} on all nodes")
        LOG.warning("a worker did not start, by %s", cause)
        self._count_failed_start(actor)
        if self._failed_starts >= ATTEMPTS:
            raise UsageError(f"no worker starts on the cluster, by {cause}; Ray's logs on that node say more")
        return []

    def _count_failed_start(self, actor: _Actor) -> None:
        """Count failures in a row: those at the same time are one, and where a node was lost they say nothing."""
        before, self._lost_nodes = self._lost_nodes, self._connection.lost_nodes()
        if self._lost_nodes > before:
            self._failed_starts = 0
        elif actor.failures == self._failed_starts:
            self._failed_starts += 1

    def _cause(self, error: Exception, node: str) -> str:
        where = f"node {node}" if node else "a node"
        text = str(error)
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return f"{one_line(error.cause)} on {where}" if isinstance(error.cause, Exception) else text[-300:]
        if "node has died" in text:
            return f"the loss of {where}"
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            return f"the loss of its connection to {where}"
        what = "the lack of memory" if "running low on memory" in text else "the end of its process"
        return f"{what} on {where}"
