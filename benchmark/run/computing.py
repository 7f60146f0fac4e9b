"""What carries out the jobs of a run, and what processes and nodes are told that do."""

from __future__ import annotations

import os
import pickle
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.executors.base import Executor
from attrobust.benchmark.executors.cluster import Cluster, Share
from attrobust.benchmark.executors.connection import Connection
from attrobust.benchmark.executors.files import RunFiles, users_files
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.executors.node import Parcel
from attrobust.benchmark.executors.process import Plugin, Setup
from attrobust.benchmark.executors.serial import Serial
from attrobust.benchmark.executors.worker import Worker
from attrobust.benchmark.executors.workers import Workers, seconds_to_start
from attrobust.benchmark.request.cluster import ClusterSettings
from attrobust.benchmark.request.plugins import module_of
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.resources import Resources
from attrobust.benchmark.store.provenance import file_digest
from attrobust.machine import cores
from attrobust.naming.file_names import real
from attrobust.types import SplitName


def executor_of(request: Request, data: Loaded, networks: Networks, resources: Resources) -> Executor:
    """What carries jobs out: this process, others, or a cluster.

    Raises:
        UsageError: there is no cluster, or no node for a job.
    """
    if request.cluster is not None:
        splits = {name: data.splits[name].sha256 for name in splits_used(request)}
        return cluster_of(request, request.cluster, networks, splits, resources.threads)
    if len(resources.devices) == 1:
        return Serial(Worker(request, data))
    return Workers([setup_of(request, device, resources.threads) for device in resources.devices])


def seconds_to_begin(request: Request, resources: Resources) -> float:
    """Seconds that it takes to start all processes, found out with one: cores start one each at a time."""
    devices = resources.devices
    return seconds_to_start(setup_of(request, devices[0], resources.threads)) * max(1.0, len(devices) / cores())


def splits_used(request: Request) -> tuple[SplitName, ...]:
    """The splits that a run reads: those of training only where it may train."""
    retrains = any(type(metric.item).scope == "training" for metric in request.metrics)
    if request.methods or request.source_models or retrains:
        return "train", "val", "test"
    return ("val", "test") if request.explainer_criterion else ("test",)


def setup_of(request: Request, device: str, threads: int) -> Setup:
    """What a worker process is made with."""
    paths = [real(path) for path in request.plugins]
    return Setup(
        plugins=tuple(Plugin(path=path, sha256=file_digest(path), module=module_of(path)) for path in paths),
        request=pickle.dumps(request),
        device=device,
        threads=threads,
    )


def cluster_of(
    request: Request, settings: ClusterSettings, networks: Networks, splits: Mapping[SplitName, str], threads: int
) -> Cluster:
    """What carries out the jobs of a run on a Ray cluster.

    Args:
        request: of the run.
        settings: of the cluster.
        networks: of the run.
        splits: the sha256 of the images that it uses.
        threads: that a job has.

    Raises:
        UsageError: there is no such cluster, or none of its nodes has room for a job.
    """
    connection = Connection(settings.address)
    try:
        nodes = connection.nodes()
        gpus = settings.gpus(sum(node.get("GPU", 0.0) for node in nodes))
        if gpus and "OMP_NUM_THREADS" not in os.environ:
            threads = min([threads, *(_threads(node, gpus) for node in nodes if node.get("GPU", 0.0) >= gpus)])
        root = request.data_root
        absolute = replace(request, out=request.out.absolute(), data_root=root.absolute() if root else None)
        setup = replace(setup_of(absolute, "cuda:0" if gpus else "cpu", threads), splits=dict(splits))
        token = secrets.token_hex(16)
        plugins = [plugin.path for plugin in setup.plugins]
        parcel = Parcel(setup=setup, folder=absolute.out, token=token, files=users_files(request, plugins))
        return Cluster(
            connection,
            share=Share(cpus=threads, gpus=gpus),
            most=request.workers,
            parcel=pickle.dumps(parcel),
            files=RunFiles(absolute.out, networks),
            token=token,
            environment=_environment(threads),
        )
    except BaseException:
        connection.close()
        raise


def _threads(node: Mapping[str, float], gpus: float) -> int:
    """The threads that each job has where as many are on a node as its GPUs have room for."""
    return max(1, int(node.get("CPU", 0.0) // (node["GPU"] // gpus)))


def _environment(threads: int) -> dict[str, str]:
    """Variables of the environment that nodes compute in."""
    found = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    if data := os.environ.get("ATTROBUST_DATA"):
        found["ATTROBUST_DATA"] = str(Path(data).absolute())
    return found
