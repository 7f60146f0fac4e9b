"""A Ray cluster on this machine: a head without CPUs, and nodes with one CPU each that can be lost and added."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from helpers.processes import workers_of
from helpers.runs import ROOT

MEMORY = 80_000_000
"""Bytes for objects on each node."""


class RayNodes:
    """Needs Ray, which is imported when the cluster is started.

    Args:
        environments: variables of each node beside the path of attrobust.

    Attributes:
        address: as ``--executor`` takes it.
    """

    def __init__(self, *environments: Mapping[str, str]) -> None:
        from ray.cluster_utils import Cluster

        self._before = signal.getsignal(signal.SIGTERM)
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Any] = []
        for environment in environments:
            self.add(environment)
        self.address = f"ray:{self._cluster.address}"

    def add(self, environment: Mapping[str, str], *, path: str = str(ROOT)) -> None:
        """Add a node, which finds modules in a folder."""
        variables = {"PYTHONPATH": path, **environment}
        self._nodes.append(self._cluster.add_node(num_cpus=1, env_vars=variables, object_store_memory=MEMORY))

    def lose(self, index: int = -1) -> None:
        """Kill a node with all its processes."""
        self._cluster.remove_node(self._nodes.pop(index), allow_graceful=False)

    def __len__(self) -> int:
        """How many nodes there are beside the head."""
        return len(self._nodes)

    def actors(self) -> list[int]:
        """Our processes on the nodes."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self._nodes]
        return [pid for raylet in raylets for pid in workers_of(raylet, "ray::Node")]

    def close(self) -> None:
        """End the cluster."""
        self._cluster.shutdown()
        signal.signal(signal.SIGTERM, self._before)
