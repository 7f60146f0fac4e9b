"""From a request to rows on disk: plan, carry out what is missing, record what was asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

import torch

from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.find import Checkpoint
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.data.base import Loaded, evaluation_sha256, image_facts
from attrobust.benchmark.data.checks import load_dataset, read_all
from attrobust.benchmark.executors.base import Executor
from attrobust.benchmark.executors.networks import Networks, Origin
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.choosing import Selection, choose
from attrobust.benchmark.run.computing import executor_of, seconds_to_begin, splits_used
from attrobust.benchmark.run.costs import PASSES
from attrobust.benchmark.run.disk import say_what_is_kept, set_aside_what_is_damaged
from attrobust.benchmark.run.driver import Driver
from attrobust.benchmark.run.estimate import Estimate, Estimator
from attrobust.benchmark.run.grid import Grid, choosing_grid, table_grid, tuning_grid
from attrobust.benchmark.run.lighter import MANY, advice
from attrobust.benchmark.run.plan import Plan, Planner
from attrobust.benchmark.run.preflight import check_settings, open_checkpoints, try_out
from attrobust.benchmark.run.record import asked_for, comparison_of, record_of
from attrobust.benchmark.run.resources import Resources
from attrobust.benchmark.run.resources import choose as choose_resources
from attrobust.benchmark.run.shards import Share, share, weigher
from attrobust.benchmark.run.status import Left, RowStatus, status_of
from attrobust.benchmark.run.subjects import Subject, baselines_of, subjects_of
from attrobust.benchmark.run.together import Together
from attrobust.benchmark.run.tuning import Tuned, Tuner, columns
from attrobust.benchmark.store.explainer_choice import ExplainerChoice
from attrobust.benchmark.store.plan import ShardFacts
from attrobust.benchmark.store.store import Store
from attrobust.process import restored
from attrobust.types import SplitName, UsageError

LOG = logging.getLogger("attrobust")
WORTH_ESTIMATING = 120.0
"""Seconds of a run, by a rough estimate, from which on it is worth the time that a better one takes."""


class Runner:
    """Carries out one request.

    Args:
        request: resolved and checked.
        argv: as typed, for the record.
        executor: carries jobs out; chosen by what there is to compute unless one is given.
        data: of the same dataset, where it was loaded and read already.
        said: called when it is known how far the run has come, before networks and explainers are tried out.

    Attributes:
        argv: as typed.
        data: images.
        status: for every row and candidate how far it has come; of a shard only what is known to be its own.
        left: what there is to do.
        resources: what it is done with.
        notes: a line for each explainer that does not suit one of the networks.
        tuner: chooses settings of explainers; None where there is nothing to choose.
        tuned: what it chose, none where there is nothing to choose; None until it did.
        tuning_status: of each network how far it is measured for that.

    Raises:
        UsageError: the data cannot be read, are not what they say, have fewer test images than asked for, or do not fit
            a network; or the folder is not a run's.
    """

    def __init__(
        self,
        request: Request,
        argv: list[str],
        executor: Executor | None = None,
        data: Loaded | None = None,
        said: Callable[[Runner], None] = lambda _: None,
    ) -> None:
        self.request = self._whole = request
        self.store = Store(request.out)
        self.argv = argv
        self.resources = Resources(devices=(str(request.device),), threads=torch.get_num_threads())
        label = request.dataset.label
        self.data: Loaded = data or load_dataset(request.dataset.item, request.data_root, label)
        test = self.data.splits["test"]
        wanted = request.protocol.images
        if wanted > len(test):
            raise UsageError(f"--images {wanted}: the test split of {label} has {len(test)} images")
        read_all(self.data, splits_used(request), label)
        self._table = table_grid(request, self.data)
        self._choosing = choosing_grid(request.criterion, self.data, wanted) if request.criterion else None
        tuning = tuning_of(request, self.data)
        grids = [grid for grid in (self._table, self._choosing, tuning) if grid]
        check_settings(request, self.data, grids)
        opened = open_checkpoints(request, self.data)
        self._external_sha256 = {name: sha256 for name, (_, sha256) in opened.items()}
        self.subjects = subjects_of(request, self.data)
        self._networks = Networks(request, self.data, self.store.folder / "checkpoints")
        self._executor = executor
        self._together: Together | None = None
        self.notes: list[str] = []
        self.tuned: tuple[ExplainerChoice, ...] | None = ()
        self.tuning_status: list[RowStatus] = []
        self._asked = [*self.subjects, *baselines_of(request, self.subjects)]
        self.planner = self._planner_of(self._table)
        self.tuner: Tuner | None = None
        if request.explainer_criterion and tuning:
            self.tuner = Tuner(
                criterion=request.explainer_criterion,
                grid=tuning,
                planner=self._planner_of(tuning),
                subjects=self.subjects,
            )
        self.store.check_ours()
        self.store.check_shard(str(request.shard or ""))
        plan = self._look()
        self._lent = {job.key for part in plan.parts for job in part.source_models.values()}
        said(self)
        # Which rows and columns of sweeps are to be measured is known when their members are.
        if self._is_open or any(row.done < row.cells for row in self.status):
            networks, self.notes = try_out(request, self.data, grids, [network for network, _ in opened.values()])
            batch = test.batch(range(min(wanted, request.most_together)))[0]
            jobs, work = self.left.jobs, self.left.work
            # On a cluster a job has the threads that a process alone has here, and with them its rounding.
            count = 1 if request.cluster else request.workers
            self.resources = choose_resources(request.device, count, networks, batch, jobs=jobs, work=work)
            names = [*(item.label for item in request.methods), *(item.name for item in request.checkpoints)]
            built = dict(zip(names, networks, strict=True))
            self._together = Together(request, built, batch, len(self.resources.devices))
            self.notes += self._together.choose(batch.whole for batch, _ in self.left.batches)
            for planner in (self.planner, self.tuner.planner if self.tuner else self.planner):
                planner.size_of = self._together.size
            if self._together.is_short:
                self._look()

    def _planner_of(self, table: Grid) -> Planner:
        """Plans what is measured of rows of the table, and of candidates."""
        planner = Planner(
            self.request,
            self.data,
            table=table,
            choosing=self._choosing,
            networks=self._networks,
            external_sha256=self._external_sha256,
            seeds={subject.source_model_seed for subject in self._asked},
        )
        if self._together:
            planner.size_of = self._together.size
        return planner

    def _look(self) -> Plan:
        """Plan what was asked for, and see what is left of it."""
        driver, tuning = self._driver(), self.tuner.plan() if self.tuner else Plan(parts=())
        if self.tuner:
            self._take_in(self.tuner.known(driver, lambda subject: self._weights(subject)[1]))
        plan = self.planner.plan(self._asked)
        # What a shard computes of the table is known when members of sweeps are chosen.
        plan = plan if self._is_open else self._share(plan).plan
        both = Plan(parts=(*tuning.parts, *plan.parts))
        found, self.left = status_of(both, driver, self._networks, self._weights)
        self.tuning_status, self.status = found[: len(tuning.parts)], found[len(tuning.parts) :]
        return plan

    def _take_in(self, tuned: Tuned) -> None:
        """Make the columns those of the chosen explainers; the first setting stands in where none is chosen yet."""
        self.tuned = tuned.choices
        self.request = replace(self._whole, explainers=columns(self._whole, tuned.choices or ()))
        self._table = table_grid(self.request, self.data)
        self.planner = self._planner_of(self._table)

    @property
    def _is_open(self) -> bool:
        """Whether rows or columns of the table are still to be chosen."""
        return self._choosing is not None or self.tuned is None

    def downloads(self) -> list[Checkpoint]:
        """The shipped weights that are needed for what there is to do, and are not on this machine yet."""
        unfinished = [row.subject.source for row in self.status if row.done < row.cells]
        seeds = {subject.source_model_seed for subject in self.subjects}
        lent = (self.planner.source_model(name, seed) for name in self.request.source_models for seed in seeds)
        return self._networks.downloads([*unfinished, *(job for job in lent if unfinished and job.key in self._lent)])

    def source_models(self) -> list[tuple[str, int, Origin]]:
        """For every network that attacks need beside the rows': what it is called, its seed, where its weights are."""
        seeds = sorted({subject.source_model_seed for subject in self.subjects})
        return [
            (source_model.label, seed, self._networks.origin(source)[0])
            for name, source_model in self.request.source_models.items()
            for seed in seeds
            if (source := self.planner.source_model(name, seed)).key in self._lent
        ]

    @property
    def images(self) -> int | None:
        """How many images there are to be done; None where what is to be measured is to be chosen first."""
        return None if self._is_open else self.left.images

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to compute."""
        return self._together is None

    def estimate(self, left: Left) -> Estimate | None:
        """What the run would take; some seconds are spent to find out. None where there is nothing to do.

        Args:
            left: what there is to do, or less of it.
        """
        if self._together is None:
            return None
        with restored():
            torch.set_num_threads(self.resources.threads)
            several = self.request.cluster or len(self.resources.devices) > 1
            start = partial(seconds_to_begin, self.request, self.resources) if several else None
            return Estimator(self.request, self.data, self._together).estimate(left, start)

    def costly(self) -> Estimate | None:
        """What the run would take where that is much, found out before it begins; None for a short run."""
        if self._together is None:
            return None
        with restored():
            torch.set_num_threads(self.resources.threads)
            estimator = Estimator(self.request, self.data, self._together)
            if not estimator.is_long(self.left, WORTH_ESTIMATING * len(self.resources.devices)):
                return None
            return estimator.estimate(self.left)

    def advice(self, label: str, passes: float) -> str:
        """Which settings of an explainer to change that takes so many passes a map; empty where these are few."""
        component = next((item for item in self.request.explainers if item.label == label), None)
        if self._together is None or component is None or passes < MANY:
            return ""
        estimator = Estimator(self.request, self.data, self._together)
        return advice(component.item, self.data.size, estimator.map_passes)

    def executor(self) -> Executor:
        """What carries jobs out: this process, others, or a cluster; whoever asks for it closes it.

        Raises:
            UsageError: there is no cluster, or no node for a job.
        """
        if self._executor is not None:
            return self._executor
        return executor_of(self.request, self.data, self._networks, self.resources)

    def run(self, executor: Executor | None = None) -> list[str]:
        """Compute what is missing and record what was asked for; returns one line for every failure."""
        resources = self.resources
        with restored(), closing(executor or self.executor()) as carries_out:
            if resources.threads != torch.get_num_threads() or len(resources.devices) > 1:
                torch.set_num_threads(resources.threads)
                if self.request.cluster is None:  # Which says itself what a job has.
                    LOG.info("computing with %s", resources.words)
            set_aside_what_is_damaged(self.store.folder)
            say_what_is_kept(self.store.folder, self.left.kept_bytes(self.data.channels * self.data.size**2))
            return self._run(carries_out)

    def _run(self, executor: Executor) -> list[str]:
        driver = self._driver()
        failures: list[str] = []
        if self.tuner:
            tuned = self.tuner.run(driver, executor)
            failures += tuned.failures
            self._take_in(tuned)
        selection = self._choose(driver, executor)
        rows = [*selection.subjects, *baselines_of(self.request, selection.subjects)]
        plan = self.planner.plan(rows)
        own = self._share(plan)
        completed = sorted(driver.run(own.plan, executor), key=lambda done: done.position)
        comparison = comparison_of(self.request, self._table.data_sha256)
        images = image_facts(self.data)
        shard = None
        if self.request.shard:
            asked = asked_for(self._whole, comparison_of(self._whole, self._table.data_sha256), images, self._asked)
            shard = ShardFacts(number=self.request.shard.number, starts=own.starts, asked=asked)
        weights = [(part.subject, driver.network(part.network).sha256) for part in plan.parts]
        record = record_of(
            self.request,
            comparison,
            images,
            weights,
            completed,
            selection.choices,
            self.argv,
            shard=shard,
            explainer_choices=self.tuned,
        )
        self.store.write_plan(record)
        failures += [*selection.failures, *(line for done in completed for line in done.failures)]
        # A network that could not be trained fails when explainers are chosen, and again in the table.
        return list(dict.fromkeys(failures))

    def _share(self, plan: Plan) -> Share:
        """What of the plan of the whole table this command carries out."""
        if self.request.shard is None:
            return Share(plan=plan, starts=())
        images = len(self.data.splits["train"]) if "train" in self.data.splits else 0
        return share(
            plan, self.request.shard, PASSES * self.request.recipe.epochs * images, weigher(self._networks, images)
        )

    def _driver(self) -> Driver:
        def identify(split: SplitName, images: int) -> str:
            return evaluation_sha256(self.data.splits[split], images)

        return Driver(self.request, self.store, identify)

    def _choose(self, driver: Driver, executor: Executor) -> Selection:
        """Measure the candidates of all sweeps and choose among them; without a criterion all subjects are rows."""
        if not (self.request.criterion and self._choosing):
            return Selection(subjects=self.subjects, choices=[], failures=[])
        plan = self.planner.plan([subject for subject in self.subjects if subject.candidate_of])
        images = self._choosing.images
        return choose(self.subjects, self.request.criterion, images, driver.run(plan, executor), driver.rows)

    def _weights(self, subject: Subject) -> tuple[Origin, str]:
        """Where the weights of a row come from, and their sha256 as far as it is known."""
        origin, checkpoint = self._networks.origin(subject.source)
        if isinstance(subject.source, ExternalCheckpoint):
            return origin, self._external_sha256[subject.source.name]
        if isinstance(subject.source, Untrained):
            try:
                return origin, subject.source.open(self.data)[1]
            except Exception:  # The architecture does not take the images, so that its cells fail.
                return origin, ""
        return origin, checkpoint.card.sha256 if checkpoint else ""


def tuning_of(request: Request, data: Loaded) -> Grid | None:
    """What settings of explainers are measured on; None where none are chosen.

    Raises:
        UsageError: there are no validation images to choose on.
    """
    if request.explainer_criterion is None:
        return None
    if not len(data.splits.get("val", ())):
        raise UsageError(f"--choose needs validation images, and {request.dataset.label} has none here")
    return tuning_grid(request.explainer_criterion, data, request.protocol.images)
