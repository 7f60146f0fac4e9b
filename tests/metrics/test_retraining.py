"""ROAR, KAR and DiffROAR against brute force and planted truth; retraining that is done once, killed or not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attrobust.attacks.noise import Noise
from attrobust.benchmark.data.base import ArraySplit, Loaded
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.evaluation import retraining
from attrobust.benchmark.evaluation.evaluate import evaluate
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.benchmark.evaluation.retraining import FloatSplit, Retraining, evaluate_retraining, split_maps
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training import loop as training
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import correct, train
from attrobust.benchmark.training.recipe import Recipe
from attrobust.explainers.base import Explainer, UnderivedExplainer
from attrobust.explainers.baselines import Constant
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.smoothgrad import SmoothGrad
from attrobust.maps.reduction import reduce_map
from attrobust.methods.natural import Natural
from attrobust.metrics import registry
from attrobust.metrics.base import Quality
from attrobust.metrics.retraining.diffroar import DiffROAR
from attrobust.metrics.retraining.kar import KAR
from attrobust.metrics.retraining.roar import ROAR
from attrobust.metrics.shared import removal
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.removal import RemovalMetric, removed
from attrobust.metrics.shared.retraining import RetrainingContext, RetrainingMetric
from attrobust.naming.component import Component
from attrobust.naming.spec import Spec, build
from attrobust.threat import ThreatModel
from attrobust.types import SplitName, UsageError

CPU = torch.device("cpu")
RULES = Rules(threat=ThreatModel(eps=16 / 255), reduction="abs-sum", label="predicted", seed=0, batch_size=5)
MEAN = torch.tensor([0.3061, 0.4567, 0.1234])
COUNTS: dict[SplitName, int] = {"train": 7, "val": 3, "test": 40}
RETRAINING_METRICS = [ROAR, KAR, DiffROAR]


@pytest.fixture(scope="module")
def scans(digits: Loaded) -> Tensor:
    """Twelve digits in three colours, none of which any pixel of ``MEAN`` has."""
    grey = digits.splits["test"].batch(range(12))[0]
    return torch.cat([grey, 1 - grey, grey.square()], dim=1)


@pytest.fixture(scope="module")
def gradients(scans: Tensor) -> Tensor:
    from attrobust import load

    grey = scans[:, :1]
    network = load("digits/natural")
    return reduce_map(Saliency()(network, grey, network(grey).argmax(dim=1)), "abs-sum")


@pytest.mark.parametrize("first", ["largest", "smallest"])
@pytest.mark.parametrize("count", [1, 78, 392, 706])
@pytest.mark.parametrize("tied", [False, True])
def test_exactly_the_pixels_that_rank_first_have_the_mean_colour(
    scans: Tensor, gradients: Tensor, first: removal.First, count: int, tied: bool
) -> None:
    maps = (4 * gradients / gradients.amax()).round() if tied else gradients
    found = removed(scans, maps, count, first, MEAN, 0, "test")
    for image, before, values in zip(found, scans, maps, strict=True):
        gone = (image != before).any(dim=0)
        assert int(gone.sum()) == count
        assert torch.equal(image[:, gone], MEAN[:, None].expand(-1, count))
        assert torch.equal(image[:, ~gone], before[:, ~gone])
        sign = 1 if first == "largest" else -1
        assert (sign * values[gone]).min() >= (sign * values[~gone]).max()


def gone_of(maps: Tensor, count: int, first: removal.First = "largest", purpose: str = "test") -> Tensor:
    """bool N×H×W: which pixels are removed."""
    return removed(torch.zeros_like(maps)[:, None], maps, count, first, torch.ones(1), 0, purpose)[:, 0] == 1


@pytest.mark.parametrize("first", ["largest", "smallest"])
def test_equal_values_are_as_likely_to_go_whatever_their_scale(first: removal.First) -> None:
    tied = torch.full((3000, 4, 4), 1e-30, dtype=torch.float64)
    tied[:, 0], tied[:, 3] = (2e-30, 0.0) if first == "largest" else (0.0, 2e-30)
    gone = gone_of(tied, 6, first).double().mean(dim=0)
    assert (gone[0] == 1).all()
    assert (gone[3] == 0).all()
    # Two of eight: the standard error of a share is 0.008.
    assert (gone[1:3] - 0.25).abs().max() < 0.04
    assert torch.equal(gone_of(1e60 * tied, 6, first), gone_of(tied, 6, first))


def test_chance_depends_on_image_and_split_alone_and_levels_are_nested(monkeypatch: pytest.MonkeyPatch) -> None:
    tied = torch.zeros(50, 4, 4)
    whole = gone_of(tied, 6)
    assert len({tuple(row.flatten().tolist()) for row in whole}) > 45
    assert not torch.equal(gone_of(tied, 6, purpose="train"), whole)
    assert (gone_of(tied, 9) | ~whole).all()
    assert torch.equal(gone_of(tied[:20], 6), whole[:20])
    monkeypatch.setattr(removal, "CHUNK", 7)
    assert torch.equal(gone_of(tied, 6), whole)


@dataclass
class Lottery:
    """Stands in for training: what is recognised is drawn, once for each set of images and seed."""

    drawn: dict[tuple[bytes, int], tuple[Mapping[SplitName, Tensor], Tensor]]
    asked: int = 0

    def __call__(self, images: Mapping[SplitName, Tensor], seed: int) -> Tensor:
        self.asked += 1
        key = b"".join(images[split].numpy().tobytes() for split in COUNTS), seed
        if key not in self.drawn:
            number = len(self.drawn)
            generator = torch.Generator().manual_seed(number)
            chance = 0.1 + 0.8 * ((7 * number) % 10) / 10
            self.drawn[key] = images, torch.rand(COUNTS["test"], generator=generator) < chance
        return self.drawn[key][1]


def lottery(
    maps: Mapping[SplitName, Tensor] | None = None, drawn: Lottery | None = None
) -> tuple[RetrainingContext, Lottery]:
    """A bench of black 10×10 images in two colours with maps that rank every pixel, and what it trains with."""
    generator = torch.Generator().manual_seed(1)
    known = maps or {split: torch.rand(count, 10, 10, generator=generator) for split, count in COUNTS.items()}
    found = drawn or Lottery({})
    images: dict[SplitName, Tensor] = {split: torch.zeros(count, 2, 10, 10) for split, count in COUNTS.items()}
    return RetrainingContext(images=images, maps=known.__getitem__, mean=torch.ones(2), seed=3, retrain=found), found


def accuracies(trained: Lottery, maps: Tensor, count: int) -> dict[str, list[float]]:
    """Of all networks trained without ``count`` pixels, by what was removed of the first test image, by brute force."""
    order = maps[0].flatten().argsort().tolist()
    found: dict[str, list[float]] = {"largest": [], "smallest": [], "random": []}
    for images, hits in trained.drawn.values():
        gone = set(images["test"][0, 0].flatten().nonzero()[:, 0].tolist())
        if len(gone) == count:
            kinds = {"largest": set(order[-count:]), "smallest": set(order[:count])}
            found[next((kind for kind, pixels in kinds.items() if pixels == gone), "random")].append(
                float(hits.double().mean())
            )
    return found


@pytest.mark.parametrize("levels", ["10/30/50/70/90", "5/60"])
def test_the_mean_over_images_is_the_score_of_the_papers(levels: str) -> None:
    context, trained = lottery()
    repeats = 3
    scores = {kind: kind(levels=levels, repeats=repeats).score(context) for kind in RETRAINING_METRICS}
    percents = [int(level) for level in levels.split("/")]
    means = [
        {kind: np.mean(values) for kind, values in accuracies(trained, context.maps("test"), percent).items()}
        for percent in percents
    ]
    t = [0, *(percent / 100 for percent in percents), 1]
    roar = np.trapezoid([0, *(mean["random"] - mean["largest"] for mean in means), 0], t)
    kar = np.trapezoid([0, *(mean["smallest"] - mean["random"] for mean in means), 0], t)
    difference = np.mean([mean["smallest"] - mean["largest"] for mean in means])
    for kind, wanted in zip(RETRAINING_METRICS, (roar, kar, difference), strict=True):
        assert scores[kind].shape == (repeats, COUNTS["test"])
        assert scores[kind].dtype == torch.float64
        assert float(scores[kind].mean()) == pytest.approx(float(wanted), abs=1e-12)
        assert abs(float(wanted)) > 0.001


def test_a_repeat_compares_networks_of_one_seed() -> None:
    context, trained = lottery()
    scores = ROAR(levels="40", repeats=3).score(context)
    seeds = {seed for _, seed in trained.drawn}
    assert len(seeds) == 3
    found = []
    for seed in seeds:
        alone = Lottery({key: value for key, value in trained.drawn.items() if key[1] == seed})
        (first,), (second,) = (accuracies(alone, context.maps("test"), 40)[kind] for kind in ("random", "largest"))
        found.append((first - second) / 2)
    assert sorted(scores.mean(dim=1).tolist()) == pytest.approx(sorted(found), abs=1e-12)


def test_equal_images_are_trained_on_once_whoever_asks() -> None:
    context, trained = lottery()
    for kind in RETRAINING_METRICS:
        retraining_metric = kind(repeats=2)
        before = trained.asked
        retraining_metric.score(context)
        assert trained.asked - before == retraining_metric.trainings == 20
    # Random, largest and smallest, five levels, two repeats; another row shares the random ones.
    assert len(trained.drawn) == 30
    other, _ = lottery({split: context.maps(split).flip(0) for split in COUNTS}, trained)
    ROAR(repeats=2).score(other)
    KAR(repeats=2).score(other)
    assert len(trained.drawn) == 50


def test_another_seed_of_the_evaluation_is_another_experiment() -> None:
    context, trained = lottery()
    ROAR(levels="40", repeats=1).score(context)
    ROAR(levels="40", repeats=1).score(replace(context, seed=4))
    assert len({seed for _, seed in trained.drawn}) == 2
    # Random pixels are others, the most important ones are not.
    assert len({images for images, _ in trained.drawn}) == 3


@pytest.mark.parametrize("kind", RETRAINING_METRICS)
def test_a_constant_map_scores_nothing_and_a_map_that_is_not_finite_has_no_score(kind: type[RemovalMetric]) -> None:
    maps = {split: torch.full((count, 10, 10), 0.7) for split, count in COUNTS.items()}
    context, _ = lottery(maps)
    assert (kind().score(context) == 0).all()
    maps["test"][3, 2, 1] = float("nan")
    maps["test"][5, 0, 0] = float("inf")
    maps["train"][0, 0, 0] = float("nan")
    scores = kind().score(context)
    assert scores.isnan().all(dim=0).nonzero()[:, 0].tolist() == [3, 5]
    assert scores.isnan().sum() == 2 * len(scores)
    assert scores.nansum() == 0


@pytest.mark.parametrize(
    "typed", ["levels=0/50", "levels=50/100", "levels=50/50", "levels=70/30", "levels=", "levels=a/b", "levels=nan"]
)
def test_levels_that_are_no_rising_percentages_are_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r"levels=.* must be rising percentages between 0 and 100"):
        ROAR(levels=typed.partition("=")[2])


def test_settings_are_typed_and_sizes_checked() -> None:
    typed = build(KAR, Spec.parse("kar:levels=2.5/50,repeats=4"))
    assert (typed.shares, typed.repeats, typed.trainings) == ([0.025, 0.5], 4, 16)
    typed.check_size(8, 8)
    with pytest.raises(ValueError, match="of 2×4 pixels every level must remove a number of its own"):
        ROAR(levels="10/12").check_size(2, 4)
    with pytest.raises(ValueError, match="and not all"):
        ROAR(levels="10/99").check_size(2, 4)
    with pytest.raises(UsageError, match="repeats=0 must be at least 1"):
        build(ROAR, Spec.parse("roar:repeats=0"))
    for name in ("roar", "kar"):
        cls = registry.get(name)
        assert build(cls, Spec(name, cls.presets["kim"])) == cls()


def test_a_study_that_returns_another_shape_is_refused() -> None:
    said = {"higher_is_better": True, "bounds": (0.0, 1.0), "trainings": 0}
    short = type("Short", (RetrainingMetric,), {"evaluate": lambda *_: torch.zeros(3, 5), **said})
    with pytest.raises(ValueError, match=r"Short\.evaluate returned \(5,\) for 40 images"):
        short().score(lottery()[0])


# Real training: the class is written in four pixels, all others are noise.

SIDE = 8
PLANTED = torch.zeros(SIDE, SIDE, dtype=torch.bool)
PLANTED[2:4, 5:7] = True
TINY = LeNet(width=4, hidden=8)
RECIPE = Recipe(epochs=6, batch_size=32, learning_rate=2e-2)


def planted(count: int, seed: int) -> ArraySplit:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 2, (count,), generator=generator)
    images[:, :, PLANTED] = (labels * 200 + 20).to(torch.uint8).view(-1, 1, 1)
    return ArraySplit(images, labels)


@pytest.fixture(scope="module")
def task() -> Loaded:
    splits: dict[SplitName, ArraySplit] = {"train": planted(256, 0), "val": planted(100, 1), "test": planted(200, 2)}
    return Loaded(splits={**splits}, classes=("dark", "bright"), channels=1, size=SIDE, mean=(0.4961,), std=(0.29,))


def job_of(data: Loaded, seed: int = 0) -> TrainingJob:
    return TrainingJob.on(
        data,
        method=Component("natural", Natural(), "natural"),
        model=Component("lenet", TINY, "lenet"),
        dataset=Component("digits", Digits(size=SIDE), "digits"),
        recipe=RECIPE,
        seed=seed,
    )


def images_of(data: Loaded) -> dict[SplitName, Tensor]:
    return {name: split.batch(range(len(split)))[0] for name, split in data.splits.items()}


@dataclass(frozen=True, kw_only=True)
class Claims(UnderivedExplainer):
    """Says that the planted pixels are important, or unimportant, or draws for every image what is."""

    how: str

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        if self.how == "drawn":
            sources = [torch.Generator().manual_seed(int(1e6 * image.sum())) for image in x]
            return torch.stack([torch.rand(x.shape[1:], generator=source) for source in sources]).to(x)
        truth = PLANTED.to(x) + 1
        return (truth if self.how == "truth" else 1 / truth).expand_as(x)


@pytest.fixture(scope="module")
def service(task: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Retraining:
    return Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path_factory.mktemp("retrainings"))


def test_the_true_map_beats_chance_and_its_reverse(task: Loaded, service: Retraining) -> None:
    network = TINY.build(training.image_facts(task)).eval()
    retraining_metrics = [kind(levels="10/90", repeats=1) for kind in RETRAINING_METRICS]
    scores = {}
    for how in ("truth", "drawn", "reverse"):
        found = evaluate_retraining(
            network, Claims(how=how), retraining_metrics, task, replace(RULES, batch_size=64), service
        )
        assert [values.shape for values in found] == [(1, 200)] * 3
        scores[how] = [float(values.mean()) for values in found]
    constant = evaluate_retraining(network, Constant(), retraining_metrics, task, RULES, service)
    assert [float(values.abs().max()) for values in constant] == [0, 0, 0]
    for truth, drawn, reverse in zip(scores["truth"], scores["drawn"], scores["reverse"], strict=True):
        assert truth > drawn + 0.05
        assert drawn > reverse + 0.05
        assert truth > 0.1
        assert abs(drawn) < 0.1


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("trained again")


def test_what_was_trained_once_is_read_and_anything_else_is_trained(
    task: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, service = images_of(task), Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path)
    first = service(images, 5)
    assert first.dtype == torch.bool
    assert [path.suffix for path in tmp_path.iterdir()] == [".hits"]
    monkeypatch.setattr(retraining, "train", forbidden)
    assert torch.equal(Retraining(job=job_of(task, seed=9), data=task, device=CPU, folder=tmp_path)(images, 5), first)
    labels = {**task.splits, "val": ArraySplit(task.splits["val"].pixels(range(100)), 1 - task.splits["val"].labels)}
    flipped = replace(task, splits=labels)
    for changed in (
        lambda: service(images, 6),
        lambda: service(images | {"test": images["test"].flip(0)}, 5),
        lambda: service(images | {"train": images["train"] * 0.999}, 5),
        lambda: replace(service, job=job_of(flipped), data=flipped)(images, 5),
        lambda: replace(service, job=replace(service.job, recipe=replace(RECIPE, epochs=7)))(images, 5),
        lambda: replace(service, job=replace(service.job, model=Component("lenet", LeNet(width=4, hidden=9), "lenet")))(
            images, 5
        ),
    ):
        with pytest.raises(AssertionError, match="trained again"):
            changed()
    monkeypatch.setattr("attrobust.benchmark.training.job.code_digest", lambda *_: "other sources")
    with pytest.raises(AssertionError, match="trained again"):
        service(images, 5)


@pytest.mark.parametrize("damage", [b"", b"0101", b"\xff\x00" * 100, b"2" * 200, b"f" * 64 + b"\n" + b"1" * 200])
def test_a_damaged_result_is_trained_again(
    damage: bytes, task: Loaded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, service = images_of(task), Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path)
    first = service(images, 5)
    (result,) = tmp_path.iterdir()
    whole = result.read_bytes()
    result.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "attrobust"):
        assert torch.equal(service(images, 5), first)
    assert "is damaged; training again" in caplog.text
    assert result.read_bytes() == whole


def test_a_result_in_the_place_of_another_training_is_not_used(task: Loaded, tmp_path: Path) -> None:
    service = Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path)
    service(images_of(task), 1)
    (first,) = tmp_path.iterdir()
    service(images_of(task), 2)
    (second,) = {*tmp_path.iterdir()} - {first}
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    service(images_of(task), 1)
    assert first.read_bytes() == whole


def test_images_that_were_not_changed_are_learned_like_the_data_themselves(task: Loaded, tmp_path: Path) -> None:
    service = Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path / "a")
    plain = train(Natural(), TINY, task, RECIPE, seed=2, device=CPU, resume=tmp_path / "plain.resume")
    assert torch.equal(service(images_of(task), 2), correct(plain.model, task.splits["test"], 200, CPU))


def test_a_killed_training_goes_on_where_it_stopped(
    task: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {name: 0.7 * values for name, values in images_of(task).items()}
    whole = Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path / "whole")(images, 1)
    killed = Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path / "killed")
    save, epochs = training.save_state, []

    def dies(path: Path, value: dict[str, int]) -> None:
        save(path, value)
        epochs.append(value["epoch"])
        if value["epoch"] == 4 and len(epochs) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        killed(images, 1)
    assert [path.suffix for path in (tmp_path / "killed").iterdir()] == [".resume"]
    assert torch.equal(killed(images, 1), whole)
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert [path.suffix for path in (tmp_path / "killed").iterdir()] == [".hits"]


def test_a_result_is_whole_or_absent(task: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Retraining(job=job_of(task), data=task, device=CPU, folder=tmp_path)

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(retraining, "write_hits", full)
        with pytest.raises(OSError, match="no space"):
            service(images_of(task), 5)
    monkeypatch.setattr(training, "epoch_batches", forbidden)
    service(images_of(task), 5)


def test_a_float_split_keeps_colours_and_says_what_it_holds() -> None:
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)
    split = FloatSplit(images, labels)
    x, y = split.batch([4, 1])
    assert torch.equal(x, images[[4, 1]])
    assert y.tolist() == [4, 1]
    assert (split.pixels(range(6)).double() / 255 - images).abs().max() <= 0.5001 / 255
    hashes = {
        split.sha256,
        FloatSplit(images + 1e-7, labels).sha256,
        FloatSplit(images, labels.flip(0)).sha256,
        FloatSplit(images.view(6, 3, 2, 8), labels).sha256,
    }
    assert len(hashes) == 4
    assert FloatSplit(images.clone(), labels).sha256 == split.sha256


@pytest.mark.parametrize("explainer", [Saliency(), SmoothGrad(samples=3)], ids=["saliency", "smoothgrad"])
def test_maps_of_a_split_are_those_that_are_scored(explainer: Explainer, network: nn.Module, digits: Loaded) -> None:
    seen: list[Tensor] = []

    @dataclass(frozen=True, kw_only=True)
    class Watch(Quality):
        higher_is_better = True
        bounds = (0.0, 1.0)

        def judge(self, case: Case) -> Tensor:
            seen.append(case.clean_maps)
            return torch.zeros(len(case.clean))

    x, y = digits.splits["test"].batch(range(12))
    images = Images(x=x, y=y, partners=x.flip(0))
    evaluate(network, explainer, Noise(draws=1), [Watch()], images, RULES)
    found = split_maps(network, explainer, x, RULES)
    assert found.dtype == torch.float64
    assert torch.equal(found, torch.cat(seen))
    assert not network.training
    assert torch.equal(split_maps(network, explainer, x, replace(RULES, label="true")), found)


def test_training_images_are_explained_for_the_class_predicted(network: nn.Module, digits: Loaded) -> None:
    x = digits.splits["train"].batch(range(30))[0]
    with torch.no_grad():
        predicted = network(0.3 * x).argmax(dim=1)
    assert (predicted != digits.splits["train"].labels[:30]).any()
    found = split_maps(network, Saliency(), 0.3 * x, RULES)
    wanted = Saliency()(network, 0.3 * x, predicted).abs().sum(dim=1)
    assert torch.allclose(found, wanted.double(), atol=1e-4 * float(wanted.max()))


def test_a_bench_explains_a_split_once_and_only_when_asked(task: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    explain: Callable[..., Tensor] = split_maps

    def watched(*words: object) -> Tensor:
        asked.append(words)
        return explain(*words)

    monkeypatch.setattr(retraining, "split_maps", watched)
    network = TINY.build(training.image_facts(task)).eval()
    retraining_metrics = [kind(levels="50", repeats=1) for kind in RETRAINING_METRICS]
    evaluate_retraining(
        network, Saliency(), retraining_metrics, task, replace(RULES, batch_size=128), lambda *_: torch.ones(200).bool()
    )
    assert len(asked) == 3
