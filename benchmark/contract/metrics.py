"""The contracts of metrics: similarities and qualities, and those that train networks anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from attrobust.benchmark.contract.bench import Bench
from attrobust.benchmark.contract.claims import Contract, require
from attrobust.benchmark.contract.traces import Traces, no_global_randomness
from attrobust.metrics.base import CaseMetric, Metric, Quality, Similarity, SpatialSimilarity
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.retraining import RetrainingContext, RetrainingMetric
from attrobust.types import SplitName

FEW = {"samples": 20, "repeats": 1}
"""Settings that decide how long a metric takes, and the largest values that are tried."""
CONTRACT: Contract[CaseMetric] = Contract("metric", CaseMetric, "compare", "judge", few=FEW)
RETRAINING: Contract[RetrainingMetric] = Contract("metric", RetrainingMetric, "evaluate", few=FEW)
SIDE = 12
"""Width of maps that are made by hand."""


def case_of(metric: CaseMetric, bench: Bench, rows: slice = slice(None)) -> Case:
    """A case as a metric of its scope meets it."""
    case = bench.case(rows)
    if metric.scope == "network":
        case = replace(case, explain=unexplained, explain_with=unexplained)
    return case if metric.scope == "attack" else replace(case, attacked=case.clean)


def unexplained(*_given: object) -> Tensor:
    """In the place of an explainer, for metrics of the network alone."""
    raise ValueError("a metric of scope network asks for an explanation; say another scope")


def equal(a: Tensor, b: Tensor, tolerance: float = 0.0) -> bool:
    """Whether scores are equal, undefined ones in the same places."""
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def says_what_it_is(metric: Metric, bench: Bench) -> None:
    """Direction, bounds and title are stated."""
    low, high = metric.bounds
    require(low < high, f"bounds {metric.bounds} must be the smallest and the largest possible value")
    require(isinstance(metric.title, str) and bool(metric.title.strip()), "title must be text: the column's header")
    require(math.isfinite(metric.scale) and metric.scale > 0, f"scale={metric.scale} must be above 0")


@CONTRACT.claim(short=True)
def scores_are_numbers(metric: CaseMetric, bench: Bench) -> None:
    """There is a number inside the bounds for every real image, defined for some."""
    # Some derivatives exist for smooth networks alone.
    benches = (bench, replace(bench, network=bench.smooth))
    scores = torch.cat([metric.score(case_of(metric, each)) for each in benches])
    require(not bool(scores.isnan().all()), "every real image's score is NaN")
    require(not bool(scores.isinf().any()), "a real image's score is infinite")


CONTRACT.claim(short=True)(says_what_it_is)


@CONTRACT.claim(short=True)
def everything_is_left_alone(metric: CaseMetric, bench: Bench) -> None:
    """Maps, images and network are left alone."""
    case = case_of(metric, bench)
    given = {name: getattr(case, name) for name in ("clean", "attacked", "target", "partners", "masks")}
    if metric.scope != "network":
        given |= {"clean_attributions": case.clean_attributions, "attacked_attributions": case.attacked_attributions}
        given |= {"clean_maps": case.clean_maps, "attacked_maps": case.attacked_maps}
    traces = Traces.of(case.model, **given)
    # The author's function itself: the base class may hand it copies.
    with torch.no_grad():
        if isinstance(metric, SpatialSimilarity):
            metric.compare(case.clean_maps, case.attacked_maps)
        elif isinstance(metric, Similarity):
            metric.compare(case.clean_maps.flatten(1), case.attacked_maps.flatten(1))
        elif isinstance(metric, Quality):
            metric.judge(case)
    traces.require_none()


@CONTRACT.claim(short=True)
def scores_are_deterministic(metric: CaseMetric, bench: Bench) -> None:
    """The same case gives the same scores, without global random numbers."""
    with no_global_randomness():
        first, again = (metric.score(case_of(metric, bench)) for _ in range(2))
    require(equal(first, again), "the same case gives two scores; draw from case.streams, and keep no state")


@CONTRACT.claim(short=True)
def scores_are_their_images(metric: CaseMetric, bench: Bench) -> None:
    """An image's score does not depend on the images beside it."""
    together = metric.score(case_of(metric, bench))
    alone = [metric.score(case_of(metric, bench, slice(row, row + 1))) for row in range(len(together))]
    problem = "alone and in a batch an image has other scores; compute image by image (dim=1), draw from case.streams"
    require(equal(torch.cat(alone), together, 1e-6), problem)


@CONTRACT.claim()
def odd_maps_are_fine(metric: CaseMetric, bench: Bench) -> None:
    """Scores are defined or NaN for maps that are flat, sparse, huge or tiny."""
    if not isinstance(metric, Similarity):
        return
    for name, maps in odd_maps().items():
        try:
            metric(maps, maps.flip(0))
        except ValueError as error:
            if name == "plain":
                raise
            require(False, f"with maps that are {name}: {error}")


@CONTRACT.claim()
def direction_is_right(metric: CaseMetric, bench: Bench) -> None:
    """A map is as similar to itself as higher_is_better says."""
    if not isinstance(metric, Similarity):
        return
    case = bench.case()
    same, other = metric.score(replace(case, attacked=case.clean)), metric.score(case)
    defined = ~(same.isnan() | other.isnan())
    better = same[defined] - other[defined] if metric.higher_is_better else other[defined] - same[defined]
    problem = f"equal maps score {float(same.nanmean()):.4g}, moved ones {float(other.nanmean()):.4g}"
    words = f"{problem}, and higher_is_better is {metric.higher_is_better}"
    require(bool((better >= -1e-9).all()) and bool((better > 0).any()), f"{words}; is it the other way round?")


@CONTRACT.claim()
def other_sizes_work(metric: CaseMetric, bench: Bench) -> None:
    """Maps of any size are compared, or check_size refuses them."""
    if not isinstance(metric, Similarity):
        return
    for height, width in ((SIDE, SIDE), (SIDE, 2 * SIDE)):
        try:
            metric.check_size(height, width)
        except ValueError:
            continue
        generator = torch.Generator().manual_seed(0)
        metric(*torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64))


@CONTRACT.claim()
def scope_is_honest(metric: CaseMetric, bench: Bench) -> None:
    """A score that belongs to clean images or the network is that of no attack."""
    require(metric.scope in ("attack", "map", "network"), f"scope={metric.scope} must be attack, map or network")
    if metric.scope != "attack":
        given = replace(case_of(metric, bench), attacked=bench.case().attacked)
        require(
            equal(metric.score(given), metric.score(case_of(metric, bench))),
            f"scope is {metric.scope}, and it uses attacked images",
        )


def odd_maps() -> dict[str, Tensor]:
    """Maps 3×H×W of kinds that are rare and happen."""
    generator = torch.Generator().manual_seed(0)
    plain = torch.rand(3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    single = torch.zeros_like(plain)
    single[:, 2, 3] = 1.0
    kinds = {"zero": 0 * plain, "constant": 0 * plain + 0.5, "zero but for a pixel": single}
    return {"plain": plain, **kinds, "huge": 1e300 * plain, "tiny": 1e-300 * plain, "negative": -plain}


class Trainer:
    """In the place of training: the nearest class mean of the changed training images decides.

    Attributes:
        calls: how many networks were asked for.
    """

    def __init__(self, bench: Bench) -> None:
        splits: tuple[SplitName, ...] = ("train", "val", "test")
        few = {name: range(min(64, len(bench.data.splits[name]))) for name in splits}
        loaded = {name: bench.data.splits[name].batch(rows) for name, rows in few.items()}
        self.images = {name: x for name, (x, _) in loaded.items()}
        self._labels = {name: y for name, (_, y) in loaded.items()}
        self.calls = 0

    def retrain(self, images: Mapping[SplitName, Tensor], seed: int) -> Tensor:  # noqa: ARG002
        """See ``RetrainingContext.retrain``."""
        self.calls += 1
        for name, x in images.items():
            require(x.shape == self.images[name].shape, f"retrain is given {tuple(x.shape)} images of split {name}")
        train, y = images["train"].flatten(1), self._labels["train"]
        classes = torch.tensor(sorted(set(y.tolist())))
        means = torch.stack([train[y == label].mean(dim=0) for label in classes])
        nearest = torch.cdist(images["test"].flatten(1), means).argmin(dim=1)
        return classes[nearest].eq(self._labels["test"])

    def context(self) -> RetrainingContext:
        """What a retraining metric is given; maps are the ink."""
        return RetrainingContext(
            images=self.images,
            maps=lambda name: self.images[name].mean(dim=1),
            mean=torch.zeros(self.images["train"].shape[1]),
            seed=0,
            retrain=self.retrain,
        )


@RETRAINING.claim()
def repeats_are_numbers(metric: RetrainingMetric, bench: Bench) -> None:
    """Every repeat has a number inside the bounds for every test image."""
    scores = metric.score(Trainer(bench).context())
    require(not bool(scores.isnan().all()), "every score is NaN")


RETRAINING.claim(short=True)(says_what_it_is)


@RETRAINING.claim()
def trainings_are_counted(metric: RetrainingMetric, bench: Bench) -> None:
    """Trainings says how many networks are trained."""
    trainer = Trainer(bench)
    metric.score(trainer.context())
    problem = f"trainings says {metric.trainings}, evaluate trains {trainer.calls} networks"
    require(trainer.calls == metric.trainings, problem)


@RETRAINING.claim()
def context_is_left_alone(metric: RetrainingMetric, bench: Bench) -> None:
    """Images are left alone, and the same context gives the same scores without global random numbers."""
    trainer = Trainer(bench)
    before = {name: x.clone() for name, x in trainer.images.items()}
    with no_global_randomness():
        first, again = (metric.score(trainer.context()) for _ in range(2))
        changed = [name for name, x in trainer.images.items() if not torch.equal(x, before[name])]
        require(not changed, f"it changes the images of split {changed and changed[0]} in place; work on a copy")
        require(equal(first, again), "the same context gives two scores; keep no state between calls")
