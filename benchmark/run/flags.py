"""Which rows carry what the audit found: one audit for each network and explainer, whatever attacks them."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import Any

from torch import nn

from attrobust.benchmark.audit.case import IMAGES
from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.cells import Task
from attrobust.benchmark.run.inputs import images_of, rules_of
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.provenance import source_digest
from attrobust.benchmark.store.store import Row
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.naming.spec import fingerprint
from attrobust.types import Flag

LOG = logging.getLogger("attrobust")

DECISIVE = ("subject", "checkpoint_sha256", "data_sha256", "explainer", "threat", "label", "reduction", "seed")
"""What of a cell decides its flags, the sources apart."""


class Audits:
    """The audits of a run.

    A flag is no score, so the audit's sources are not among those that decide a cell: another audit computes no score
    again. But no flag outlives the audit that raised it: a row names the sources of its audit, and where they are
    others now, the network is audited again and the row written again, with its old scores and new flags.

    Args:
        request: of the run; without its ``audit`` nothing is audited and what rows carry is left as it is.
        data: whose images are looked at.
    """

    def __init__(self, request: Request, data: Loaded) -> None:
        self._request, self._data = request, data
        self._found: dict[str, Row] = {}

    def wanted(self, task: Task, subject: Subject) -> bool:
        """Whether the rows of a cell carry flags: of the table whose attack is on the explanation, no control's."""
        on_explanation = task.explainer and task.attack and not task.attack.item.on_prediction
        return self._request.audit and bool(on_explanation) and task.split == "test" and not subject.control

    def current(self, row: Row) -> bool:
        """Whether a row carries the flags of the audit as it is now."""
        return bool(row.get("audit") == _sources())

    def facts(self, task: Task, network: nn.Module, subject: Subject) -> dict[str, Any]:
        """What every row of a cell says of the audit: ``flags`` and the sources, ``audit``; nothing where not wanted.

        Args:
            task: the cell.
            network: that it attacks.
            subject: the row it stands in.
        """
        if not self.wanted(task, subject) or task.explainer is None:
            return {}
        cell = asdict(task.cell)
        key = fingerprint({name: cell[name] for name in DECISIVE})
        if key not in self._found:
            started = time.monotonic()
            flags = [asdict(flag) for flag in self._probe(task, network, task.explainer.item)]
            self._found[key] = {"flags": flags, "audit": _sources()}
            where = f"{subject.label} / {task.explainer.label} / audit"
            for flag in flags:
                LOG.warning("%s: %s: %s", where, flag["name"], flag["reason"])
            LOG.info("%s: %.1f s", where, time.monotonic() - started)
        return self._found[key]

    def _probe(self, task: Task, network: nn.Module, explainer: Explainer) -> list[Flag]:
        images = images_of(self._data.splits[task.split], min(IMAGES, task.cell.images))
        with memory_budget(self._request.memory):
            return probe(network, explainer, images, rules_of(self._request, task.cell))


def _sources() -> str:
    return source_digest(("benchmark/audit",))
