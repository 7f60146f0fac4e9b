"""From a request to rows on disk: obtain every network, skip what is done, compute the rest."""

from __future__ import annotations

import itertools
import logging
import math
import time
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from torch import nn
from tqdm import tqdm

from attacks.base import Attack
from attacks.descent import GradientAttack
from attrobust.types import UsageError
from benchmark import statistics
from benchmark.audits import Audits
from benchmark.cells import Completed, Subject, Task, choosing_grid, metric_facts, subjects_of, table_grid, tasks_of
from benchmark.choosing import Selection, choose
from benchmark.claims import examine
from benchmark.components import Component
from benchmark.data.base import Loaded, partners
from benchmark.evaluation import Images, Rules, evaluate
from benchmark.external import ExternalCheckpoint
from benchmark.fit import check_fit
from benchmark.provenance import EVALUATION, code_digest, stamp
from benchmark.request import Request
from benchmark.store import SCHEMA, Booleans, Floats, Row, Store
from benchmark.training import correct, image_facts
from benchmark.zoo import Checkpoint, TrainingJob, find_shipped, find_trained, train_into
from explainers.chunks import memory_budget

LOG = logging.getLogger("attrobust")

Origin = Literal["shipped", "trained", "to train", "file"]


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
        self._audits = Audits(request, self._data)
        self._known: dict[str, Row] = {}

    def status(self) -> list[tuple[Subject, Origin, int, int]]:
        """For every row and candidate: where its weights come from, how many of its cells are done, of how many."""
        self._known = self.store.rows()
        found = []
        for subject in self.subjects:
            origin, checkpoint = self._origin(subject.source)
            if isinstance(subject.source, ExternalCheckpoint):
                sha256 = self._external_sha256[subject.source.name]
            else:
                sha256 = checkpoint.card.sha256 if checkpoint else ""
            tasks = self._tasks(subject, sha256)
            done = sum(self._missing(task) is None for task in tasks) if sha256 else 0
            found.append((subject, origin, done, len(tasks)))
        return found

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
        for position, subject in enumerate(selection.subjects):
            done = self._complete(subject)
            failures += done.failures
            findings |= done.findings
            entries += [entry for task in done.tasks for entry in task.entries(position)]
            subjects.append({"label": subject.label, "seed": subject.seed, "sha256": done.sha256, **subject.facts})
        choices = [choice.as_json() for choice in selection.choices]
        self.store.write_plan(self._plan(subjects, entries) | {"choices": choices, "checkpoints": findings})
        return failures

    def _complete(self, subject: Subject) -> Completed:
        """Obtain a subject's network and compute what is missing of its cells."""
        network, sha256, failures = None, "", [f"{subject.label}: {subject.unchosen}"] if subject.unchosen else []
        try:
            if not subject.unchosen:
                network, sha256 = self._network(subject)
        except UsageError:
            raise
        except Exception as error:
            LOG.exception("%s: training failed", subject.label)
            failures.append(f"{subject.label}: training failed: {_one_line(error)}")
        tasks, findings = self._tasks(subject, sha256), dict[str, Any]()
        for task in tqdm(tasks, desc=subject.label, unit="cell", leave=False, disable=None):
            missing = self._missing(task)
            if missing is not None and network is None:
                self._fail(missing, failures[-1])
            elif missing is not None and network is not None:
                failures += self._carry_out(missing, network, subject)
            if network is not None:
                self._renew_flags(task, network, subject)
            if task.attack is None and network is not None:
                findings |= self._examine(subject, task, network)
        return Completed(sha256=sha256, tasks=tasks, failures=failures, findings=findings)

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

    def _origin(self, source: TrainingJob | ExternalCheckpoint) -> tuple[Origin, Checkpoint | None]:
        if isinstance(source, ExternalCheckpoint):
            return "file", None
        if not self.request.retrain and (found := find_shipped(source)):
            return "shipped", found
        start = self._origin(source.before)[1] if source.before else None
        if source.before and start is None:
            return "to train", None
        found = find_trained(source, self.store.folder / "checkpoints", start)
        return ("trained", found) if found else ("to train", None)

    def _network(self, subject: Subject) -> tuple[nn.Module, str]:
        facts, device = image_facts(self._data), self.request.device
        if isinstance(subject.source, ExternalCheckpoint):
            network, sha256 = subject.source.open(facts)
            return network.to(device), sha256
        job = subject.source
        checkpoint = self._checkpoint(job)
        return checkpoint.network(job.method.item, job.model.item, facts).to(device), checkpoint.card.sha256

    def _checkpoint(self, job: TrainingJob) -> Checkpoint:
        """The weights of a job, trained now where there are none yet, after those that they go on from."""
        _, checkpoint = self._origin(job)
        if checkpoint is not None:
            return checkpoint
        start = self._checkpoint(job.before) if job.before else None
        LOG.info("%s: training for %d epochs", job.method.label, job.epochs)
        return train_into(job, self.store.folder / "checkpoints", self.request.device, start)

    def _tasks(self, subject: Subject, sha256: str) -> list[Task]:
        grid = self._choosing if subject.candidate_of and self._choosing else self._table
        return tasks_of(self.request, self._data, grid, subject, sha256)

    def _missing(self, task: Task) -> Task | None:
        """The task with only those metrics whose row is absent, failed or without scores; None where all is done."""
        rows = [self._known.get(key) for key, _ in task.rows]
        wanted = [row is None or row["status"] != "ok" or not self.store.has_scores(row) for row in rows]
        if not any(wanted):
            return None
        return replace(task, metrics=list(itertools.compress(task.metrics, wanted)))

    def _carry_out(self, task: Task, network: nn.Module, subject: Subject) -> list[str]:
        where = f"{subject.label} / {task.label}"
        started = time.monotonic()
        try:
            scores, legal, passes = self._scores(task, network, where)
        except UsageError:
            raise
        except Exception as error:
            LOG.exception("%s failed", where)
            self._fail(task, _one_line(error))
            return [f"{where}: {_one_line(error)}"]
        seconds = round(time.monotonic() - started, 3)
        rows = []
        for (key, facts), values in zip(task.rows, scores, strict=True):
            estimate = statistics.estimate(values)
            row = self._row(task, key, facts, status="ok")
            row |= {"mean": _number(estimate.mean), "ci": [_number(estimate.low), _number(estimate.high)]}
            row |= {"n": estimate.n, "n_defined": estimate.defined, "n_legal": int(legal.sum())}
            row |= {"passes": passes, "seconds": seconds, "scores_sha256": self.store.save_scores(key, values, legal)}
            row |= self._audits.facts(task, network, subject.label)
            rows.append(row)
        self._append(rows)
        LOG.info("%s: %.1f s", where, seconds)
        return []

    def _renew_flags(self, task: Task, network: nn.Module, subject: Subject) -> None:
        """Write rows again whose flags are of another audit, or of none."""
        rows = [self._known[key] for key, _ in task.rows] if self._audits.wanted(task) else []
        stale = [row for row in rows if row["status"] == "ok" and not self._audits.current(row)]
        if stale:
            self._append([row | self._audits.facts(task, network, subject.label) for row in stale])

    def _fail(self, task: Task, reason: str) -> None:
        self._append([self._row(task, key, facts, status="failed", error=reason) for key, facts in task.rows])

    def _append(self, rows: list[Row]) -> None:
        self.store.append(rows)
        self._known |= {row["fingerprint"]: row for row in rows}

    def _scores(self, task: Task, network: nn.Module, where: str) -> tuple[list[Floats], Booleans, dict[str, int]]:
        split = self._data.splits[task.split]
        if task.attack is None or task.explainer is None:
            hits = correct(network, split, len(split), self.request.device)
            return [hits.double().numpy()], torch.ones_like(hits).numpy(), {"forward": len(hits)}
        protocol = self.request.protocol
        count = task.cell.images
        x, y = split.batch(range(count))
        images = Images(x=x, y=y, partners=split.batch(partners(split, count))[0])
        rules = Rules(
            threat=protocol.threat,
            reduction=protocol.reduction,
            label=protocol.label,
            seed=protocol.evaluation_seed,
            batch_size=self.request.batch_size,
        )
        metrics = [metric.item for metric in task.metrics]
        with memory_budget(self.request.memory):
            found = evaluate(network, task.explainer.item, task.attack.item, metrics, images, rules, where)
        return [values.numpy() for values in found.values], found.legal.numpy(), asdict(found.passes)

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

    def _plan(self, subjects: list[dict[str, Any]], entries: list[dict[str, Any]]) -> dict[str, Any]:
        request, protocol = self.request, self.request.protocol
        plugins = [type(item.item) for item in request.explainers] + [type(item.item) for item in request.attacks]
        comparison = {
            "protocol": protocol.title,
            "dataset": request.dataset.label,
            "model": request.model.label,
            "images": protocol.images,
            "data_sha256": self._table.data_sha256,
            "threat": str(protocol.threat),
            "keep_prediction": protocol.keep_prediction,
            "label": protocol.label,
            "reduction": protocol.reduction,
            "seed": protocol.evaluation_seed,
            "explainers": [item.canonical for item in request.explainers],
            "attacks": [item.canonical for item in request.attacks],
            "code": code_digest(EVALUATION, plugins),
        }
        return {
            "schema": SCHEMA,
            "comparison": comparison,
            "explainers": [item.label for item in request.explainers],
            "attacks": [_attack_facts(item) for item in request.attacks],
            "metrics": [metric_facts(item) for item in request.metrics],
            "subjects": subjects,
            "entries": entries,
            "recipe": request.recipe.shared(),
            "argv": self._argv,
        }


def _attack_facts(attack: Component[Attack]) -> dict[str, Any]:
    own = isinstance(attack.item, GradientAttack) and not attack.item.donor
    return {"label": attack.label, "name": attack.name, "follows_gradient": own}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
