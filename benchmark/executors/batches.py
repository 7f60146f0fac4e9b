"""Scores of the batches of cells: attacks that are not known yet, maps, and metrics."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import replace

import torch
from torch import nn

from attrobust.attacks.base import AttackOutput
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.evaluation.evaluate import accuracy_under_attack, evaluate, judge
from attrobust.benchmark.evaluation.garbage import Garbage
from attrobust.benchmark.evaluation.kept import KeptResults, decoded, some_of
from attrobust.benchmark.evaluation.scores import Scores
from attrobust.benchmark.executors.base import one_line
from attrobust.benchmark.executors.inputs import FirstImages, images_of, rules_of, stamp_of
from attrobust.benchmark.executors.jobs import BatchJob, BatchPart, BatchResult, PartScores
from attrobust.benchmark.request.request import Request
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.metrics.base import CaseMetric
from attrobust.process import contained
from attrobust.types import SplitName, UsageError

LOG = logging.getLogger("attrobust")
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch says where there is none."""


class Batches:
    """Carries out batch jobs.

    Args:
        request, data: of the run.
    """

    def __init__(self, request: Request, data: Loaded) -> None:
        self._request, self._data = request, data
        self._lists: dict[tuple[SplitName, int], FirstImages] = {}
        self._garbage = Garbage()

    def computed(self, job: BatchJob, network: nn.Module, source_model: nn.Module | None) -> BatchResult:
        """The scores of all parts of a batch, up to the first that fails; one that finds no memory is halved.

        Args:
            job: with its parts.
            network: that is measured.
            source_model: of its attack.
        """
        done: list[PartScores] = []
        waiting = list(job.parts)
        problem, where = "", ""
        while waiting and not problem:
            part = waiting.pop(0)
            try:
                with contained():
                    done.append(self._part(job, part, network, source_model))
                continue
            except UsageError:
                raise
            except Exception as error:
                problem, where = one_line(error), traceback.format_exc()
                short = out_of_memory(error)
            # Outside the handler, whose traceback holds what was allocated.
            if short and len(part.rows) > 1 and not job.whole.cell.batch_size:
                LOG.warning("%s: %s; going on with %d images at a time", job.label, problem, len(part.rows) // 2)
                waiting[:0] = _halves(part)
                problem, where = "", ""
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        self._garbage.left_by(network)
        failures = [item.scores.failures[index] for item in done for index in sorted(item.scores.failures)]
        where = "\n".join([*(failure.traceback for failure in failures), *([where] if where else [])])
        return BatchResult(parts=tuple(done), error=problem, traceback=where)

    def _part(self, job: BatchJob, part: BatchPart, network: nn.Module, source_model: nn.Module | None) -> PartScores:
        """The scores of a part, and the results of its attack where they are new and to be kept."""
        started = time.monotonic()
        kept = KeptResults(self._known(job, part), wanted=job.keeps)
        with memory_budget(self._request.chunks):
            scores = self._scores(job, part, network, source_model, kept)
        return PartScores(
            part=part,
            scores=scores,
            seconds=round(time.monotonic() - started, 3),
            provenance=stamp_of(self._request, job.together),
            attacked=kept.data,
        )

    def _scores(
        self, job: BatchJob, part: BatchPart, network: nn.Module, source_model: nn.Module | None, kept: KeptResults
    ) -> Scores:
        cell, rows = job.whole, part.rows
        images, rules = self._images(cell.split, cell.cell.images), rules_of(self._request, cell.cell)
        explainer = cell.explainer.item if cell.explainer else None
        metrics = [cell.metrics[index].item for index in part.metrics] if cell.metrics else []
        scored = [metric for metric in metrics if isinstance(metric, CaseMetric)]
        if cell.attack is None:
            return judge(network, explainer, scored, images, rules, rows=rows)
        attack = cell.attack.item
        if explainer is None:
            return accuracy_under_attack(
                network, attack, images, rules, source_model=source_model, rows=rows, kept=kept
            )
        return evaluate(
            network, explainer, attack, scored, images, rules, source_model=source_model, rows=rows, kept=kept
        )

    def _known(self, job: BatchJob, part: BatchPart) -> AttackOutput | None:
        """The results of the attack on a part, as far as they are kept and of these images."""
        if part.known is None:
            return None
        rows, data = part.known
        images = self._images(job.whole.split, job.whole.cell.images).take(rows)
        try:
            whole = decoded(data, images.x)
        except ValueError as error:
            LOG.warning("%s: %s; attacking them again", job.label, error)
            return None
        return some_of(whole, range(part.rows.start - rows.start, part.rows.stop - rows.start))

    def _images(self, split: SplitName, count: int) -> FirstImages:
        """The first images of a split, with partners that are looked for once."""
        if (split, count) not in self._lists:
            self._lists = {(split, count): images_of(self._data.splits[split], count)}
        return self._lists[split, count]


def out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory for something, of a GPU or of the machine."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    return said or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def _halves(part: BatchPart) -> list[BatchPart]:
    rows = part.rows
    middle = (rows.start + rows.stop) // 2
    return [replace(part, rows=half) for half in (range(rows.start, middle), range(middle, rows.stop))]
