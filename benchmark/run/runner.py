"""From a request to rows on disk: obtain every network, skip what is done, compute the rest."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from attrobust.benchmark import statistics
from attrobust.benchmark.checkpoints.claims import examine
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.evaluation.evaluate import Rules, accuracy_under_attack, evaluate, judge
from attrobust.benchmark.evaluation.retraining import Retraining, conduct
from attrobust.benchmark.evaluation.scores import Scores, unattacked
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.cells import Completed, Grid, Task, choosing_grid, table_grid, tasks_of
from attrobust.benchmark.run.choosing import Selection, choose
from attrobust.benchmark.run.flags import Audits
from attrobust.benchmark.run.inputs import images_of, rules_of
from attrobust.benchmark.run.networks import Networks, Opened, Origin, one_line
from attrobust.benchmark.run.plan import plan_of
from attrobust.benchmark.run.preflight import check_fit
from attrobust.benchmark.run.subjects import Subject, controls_of, retraining_job, subjects_of
from attrobust.benchmark.store.provenance import stamp
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.store import Row, Store
from attrobust.benchmark.training.loop import correct
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.shared.retraining import Study
from attrobust.networks.passes import Passes
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")


class Runner:
    """Carries out one request.

    Args:
        request: resolved and checked.
        argv: as typed, for the record.

    Raises:
        UsageError: the data cannot be read, has fewer test images than asked for, or does not fit a network.
    """

    def __init__(self, request: Request, argv: list[str]) -> None:
        self.request = request
        self.store = Store(request.out)
        self._argv = argv
        self._data: Loaded = request.dataset.item.load(request.data_root)
        test = self._data.splits["test"]
        wanted = request.protocol.images
        if wanted > len(test):
            raise UsageError(f"--images {wanted}: the test split of {request.dataset.label} has {len(test)} images")
        self._table = table_grid(request, self._data)
        self._choosing = request.criterion and choosing_grid(request.criterion, self._data, wanted)
        self._external_sha256 = check_fit(request, self._data, [grid for grid in (self._table, self._choosing) if grid])
        self.subjects = subjects_of(request, self._data)
        self._networks = Networks(request, self._data, self.store.folder / "checkpoints")
        self._audits = Audits(request, self._data)
        self._known: dict[str, Row] = {}

    def status(self) -> list[tuple[Subject, Origin, int, int]]:
        """For every row and candidate: where its weights come from, how many of its cells are done, of how many."""
        self._known = self.store.rows()
        found = []
        for subject in [*self.subjects, *controls_of(self.request, self.subjects)]:
            origin, checkpoint = self._networks.origin(subject.source)
            if isinstance(subject.source, ExternalCheckpoint):
                sha256 = self._external_sha256[subject.source.name]
            elif isinstance(subject.source, Untrained):
                sha256 = subject.source.open(self._data)[1]
            else:
                sha256 = checkpoint.card.sha256 if checkpoint else ""
            names = self._grid(subject).donors
            donors = {name: self._networks.donor_origin(name, subject.donor_seed)[1] for name in names}
            tasks = self._tasks(subject, sha256, {name: item.card.sha256 for name, item in donors.items() if item})
            done = sum(self._missing(task) is None for task in tasks) if sha256 else 0
            found.append((subject, origin, done, len(tasks)))
        return found

    def donors(self) -> list[tuple[str, int, Origin]]:
        """For every network that attacks need beside the rows': what it is called, its seed, where its weights are."""
        seeds = sorted({subject.donor_seed for subject in self.subjects})
        return [
            (donor.label, seed, self._networks.donor_origin(name, seed)[0])
            for name, donor in self.request.donors.items()
            for seed in seeds
        ]

    def run(self) -> list[str]:
        """Compute what is missing and record the plan; returns one line for every failure."""
        self._known = self.store.rows()
        selection = Selection(subjects=self.subjects, choices=[], failures=[])
        if self.request.criterion and self._choosing:
            images = self._choosing.images
            selection = choose(self.subjects, self.request.criterion, images, self._complete, self._known)
        failures = [*selection.failures]
        entries: list[dict[str, Any]] = []
        subjects: list[dict[str, Any]] = []
        findings: dict[str, Any] = {}
        rows = [*selection.subjects, *controls_of(self.request, selection.subjects)]
        for position, subject in enumerate(rows):
            done = self._complete(subject)
            failures += done.failures
            findings |= done.findings
            entries += [entry for task in done.tasks for entry in task.entries(position)]
            named = {"label": subject.label, "seed": subject.seed, "sha256": done.sha256, "control": subject.control}
            subjects.append(named | {"training": subject.training} | subject.facts)
        choices = [choice.as_json() for choice in selection.choices]
        plan = plan_of(self.request, self._table.data_sha256, subjects, entries, self._argv)
        self.store.write_plan(plan | {"choices": choices, "checkpoints": findings})
        return failures

    def _complete(self, subject: Subject) -> Completed:
        """Obtain a subject's network and compute what is missing of its cells."""
        if subject.unchosen:
            opened = Opened(network=None, sha256="", problem=f"{subject.label}: {subject.unchosen}")
        else:
            opened = self._networks.open(subject.source, subject.label)
        donors = {"": Opened(network=None, sha256="", problem="")}
        if opened.network is not None:
            names = self._grid(subject).donors
            donors |= {name: self._networks.donor(name, subject.donor_seed) for name in names}
        failures = [part.problem for part in (opened, *donors.values()) if part.problem]
        tasks = self._tasks(subject, opened.sha256, {name: donor.sha256 for name, donor in donors.items()})
        findings = dict[str, Any]()
        for task in tqdm(tasks, desc=subject.label, unit="cell", leave=False, disable=None):
            missing = self._missing(task)
            if missing is not None and opened.network is None:
                self._fail(missing, opened.problem)
            elif missing is not None and donors[task.donor].problem:
                self._fail(missing, donors[task.donor].problem)
            elif missing is not None and opened.network is not None:
                failures += self._carry_out(missing, opened.network, donors[task.donor].network, subject)
            if opened.network is not None:
                self._renew_flags(task, opened.network, subject)
            if task is tasks[0] and opened.network is not None:
                findings |= self._examine(subject, task, opened.network)
        return Completed(sha256=opened.sha256, tasks=tasks, failures=failures, findings=findings)

    def _examine(self, subject: Subject, accuracy: Task, network: nn.Module) -> dict[str, Any]:
        """Say how good a user's network is and what is odd about that, by its label; empty for those trained here."""
        row = self._known[accuracy.rows[0][0]]
        if not isinstance(subject.source, ExternalCheckpoint) or row["status"] != "ok":
            return {}
        test, val = self._data.splits["test"], self._data.splits["val"]
        finding = examine(
            network,
            torch.from_numpy(self.store.load_scores(row)[0]) > 0,
            test.labels,
            subject.source.model.item,
            image_facts(self._data),
            subject.source.source.claim(self._data),
            lambda: correct(network, val, len(val), self.request.device),
        )
        LOG.info("%s: %s", subject.label, finding.line)
        for warning in finding.warnings:
            LOG.warning("warning: %s: %s", subject.label, warning)
        return {subject.label: finding.facts}

    def _grid(self, subject: Subject) -> Grid:
        return self._choosing if subject.candidate_of and self._choosing else self._table

    def _tasks(self, subject: Subject, sha256: str, donors: Mapping[str, str]) -> list[Task]:
        return tasks_of(self.request, self._data, self._grid(subject), subject, sha256, donors)

    def _missing(self, task: Task) -> Task | None:
        """The task with only those metrics whose row is absent, failed or without scores; None where all is done."""
        rows = [self._known.get(key) for key, _ in task.rows]
        wanted = [row is None or row["status"] != "ok" or not self.store.has_scores(row) for row in rows]
        if not any(wanted):
            return None
        return replace(task, metrics=list(itertools.compress(task.metrics, wanted)))

    def _carry_out(self, task: Task, network: nn.Module, donor: nn.Module | None, subject: Subject) -> list[str]:
        where = f"{subject.label} / {task.label}"
        started = time.monotonic()
        try:
            found = self._scores(task, network, donor, subject, where)
        except UsageError:
            raise
        except Exception as error:
            LOG.exception("%s failed", where)
            self._fail(task, one_line(error))
            return [f"{where}: {one_line(error)}"]
        seconds = round(time.monotonic() - started, 3)
        rows: list[Row] = []
        legal = found.legal.numpy()
        for (key, facts), scores, members in zip(task.rows, found.values, found.worst, strict=True):
            values, worst = scores.numpy(), members.numpy()
            estimate = statistics.estimate(values, unit=facts["unit"])
            row = self._row(task, key, facts, status="ok")
            row |= {"mean": _number(estimate.mean), "ci": [_number(estimate.low), _number(estimate.high)]}
            row |= {"n": estimate.n, "n_defined": estimate.defined, "n_legal": int(legal.sum())}
            row |= {"passes": asdict(found.passes), "seconds": seconds}
            if found.repeats:
                row["repeats"] = [_number(value) for value in found.repeats[len(rows)]]
            if parts := statistics.shares(worst, found.members):
                row["members"] = parts
            row["scores_sha256"] = self.store.save_scores(key, values, legal, worst, found.members)
            row |= self._audits.facts(task, network, subject)
            rows.append(row)
        self._append(rows)
        LOG.info("%s: %.1f s", where, seconds)
        return []

    def _renew_flags(self, task: Task, network: nn.Module, subject: Subject) -> None:
        """Write rows again whose flags are of another audit, or of none."""
        rows = [self._known[key] for key, _ in task.rows] if self._audits.wanted(task, subject) else []
        stale = [row for row in rows if row["status"] == "ok" and not self._audits.current(row)]
        if stale:
            self._append([row | self._audits.facts(task, network, subject) for row in stale])

    def _fail(self, task: Task, reason: str) -> None:
        self._append([self._row(task, key, facts, status="failed", error=reason) for key, facts in task.rows])

    def _append(self, rows: list[Row]) -> None:
        self.store.append(rows)
        self._known |= {row["fingerprint"]: row for row in rows}

    def _scores(self, task: Task, network: nn.Module, donor: nn.Module | None, subject: Subject, where: str) -> Scores:
        split = self._data.splits[task.split]
        if task.scope == "accuracy" and task.attack is None:
            hits = correct(network, split, len(split), self.request.device)
            return replace(unattacked([hits.double()]), passes=Passes(forward=len(hits)))
        images, rules = images_of(split, task.cell.images), rules_of(self.request, task.cell)
        explainer = task.explainer.item if task.explainer else None
        attack = task.attack.item if task.attack else None
        metrics = [metric.item for metric in task.metrics if isinstance(metric.item, CaseMetric)]
        with memory_budget(self.request.memory):
            if task.scope == "training" and explainer:
                return self._studied(task, network, explainer, rules, subject, where)
            if attack is None:
                return judge(network, explainer, metrics, images, rules, progress=where)
            if explainer is None:
                return accuracy_under_attack(network, attack, images, rules, donor=donor, progress=where)
            return evaluate(network, explainer, attack, metrics, images, rules, donor=donor, progress=where)

    def _studied(
        self, task: Task, network: nn.Module, explainer: Explainer, rules: Rules, subject: Subject, where: str
    ) -> Scores:
        """What networks learn that are trained anew on images changed according to the maps of one."""
        studies = [metric.item for metric in task.metrics if isinstance(metric.item, Study)]
        folder, device = self.store.folder / "studies", self.request.device
        job = retraining_job(self.request, self._data, subject)
        retrain = Retraining(job=job, data=self._data, device=device, folder=folder)
        found = conduct(network, explainer, studies, self._data, rules, retrain, progress=where)
        repeats = tuple(tuple(scores.nanmean(dim=1).tolist()) for scores in found)
        return replace(unattacked([scores.mean(dim=0) for scores in found]), repeats=repeats)

    def _row(self, task: Task, key: str, facts: dict[str, Any], *, status: str, error: str = "") -> Row:
        provenance = stamp(str(self.request.device), torch.get_num_threads())
        return {
            "schema": SCHEMA,
            "fingerprint": key,
            "cell": asdict(task.cell),
            "split": task.split,
            "metric": facts,
            "status": status,
            "error": error,
            "provenance": {**provenance, "batch_size": self.request.batch_size},
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
