"""Components never change each other: neither what another one is given, nor the process it runs in."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.attacks.base import Attack
from attrobust.attacks.noise import Noise
from attrobust.attacks.topk import TopK
from attrobust.benchmark.data.base import ArraySplit, Loaded
from attrobust.benchmark.data.checks import load_dataset
from attrobust.benchmark.evaluation.evaluate import evaluate, judge
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.benchmark.evaluation.retraining import evaluate_retraining
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.run.item_check import check_logits
from attrobust.benchmark.training.loop import TrainingError, fresh_network, train
from attrobust.benchmark.training.recipe import Recipe, load_recipe
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.smoothgrad import SmoothGrad
from attrobust.methods.base import Batch, Method
from attrobust.methods.natural import Natural
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.faithfulness.insertion import Insertion
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.retraining import RetrainingContext, RetrainingMetric
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.normalized_l2 import NormalizedL2
from attrobust.metrics.similarity.target_similarity import TargetSimilarity
from attrobust.process import restored
from attrobust.threat import ThreatModel

from helpers import rude
from helpers.runs import FAST, run, written_rows

Capture = pytest.CaptureFixture[str]
RULES = Rules(threat=ThreatModel(eps=16 / 255), reduction="abs-sum", label="predicted", seed=3, batch_size=3)
METRICS: tuple[CaseMetric, ...] = (NormalizedL2(), Insertion(), TargetSimilarity(), Cosine())
RUDE: tuple[CaseMetric, ...] = (rude.InPlace(), rude.Greedy(), rude.Failing())


@pytest.fixture(scope="module")
def images(real_images: tuple[Tensor, Tensor]) -> Images:
    x, y = (part[:6] for part in real_images)
    return Images(x=x, y=y, partners=x.roll(1, 0))


@pytest.fixture(autouse=True)
def _process_is_left_as_it_was() -> Iterator[None]:
    """Whatever the components of a test do."""
    before, states = _settings(), (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))
    yield
    assert _settings() == before
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert str(np.random.get_state()) == states[2]


def _settings() -> tuple[object, ...]:
    hooks = len(torch.nn.modules.module._global_forward_hooks)
    switches = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), hooks)
    return (*switches, str(np.geterr()), 2.0**-1022 / 2 == 0.0)


def scores(
    metrics: Sequence[CaseMetric], images: Images, *, attack: Attack | None = None, explainer: Explainer | None = None
) -> dict[str, list[float]]:
    """Scores of every image by the class of the metric, of those that have any."""
    network = load("digits/natural")
    found = evaluate(network, explainer or Saliency(), attack or TopK(steps=1), metrics, images, RULES)
    pairs = enumerate(zip(metrics, found.values, strict=True))
    return {type(metric).__name__: values.tolist() for i, (metric, values) in pairs if i not in found.failures}


# Metrics.


@pytest.mark.parametrize("other", RUDE, ids=lambda metric: type(metric).__name__)
def test_a_metric_that_writes_into_all_it_is_given_moves_no_other_column_wherever_it_stands(
    other: CaseMetric, images: Images
) -> None:
    alone = {name: values for metric in METRICS for name, values in scores([metric], images).items()}
    for place in (0, len(METRICS) // 2, len(METRICS)):
        together = scores([*METRICS[:place], other, *METRICS[place:]], images)
        assert {name: together[name] for name in alone} == alone


def test_the_order_of_metrics_never_matters(images: Images) -> None:
    everything = (*METRICS[:2], *RUDE)
    first, *others = (scores(order, images) for order in list(itertools.permutations(everything))[::17])
    assert len(first) == len(everything) - 1, "one of them fails"
    assert all(other == first for other in others)


def test_a_metric_that_writes_into_clean_maps_moves_no_other_column_without_an_attack(images: Images) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Greedy(rude.Greedy):
        scope = "map"

    network = load("digits/natural")
    alone = judge(network, SmoothGrad(samples=2), [Insertion()], images, RULES).values[0]
    beside = judge(network, SmoothGrad(samples=2), [Greedy(), Insertion()], images, RULES).values[1]
    assert torch.equal(alone, beside)


def test_scores_that_a_metric_returns_in_a_tensor_of_its_own_are_those_of_every_batch(images: Images) -> None:
    (buffered,) = scores([rude.Buffered()], images).values()
    parts = [
        Images(x=images.x[rows], y=images.y[rows], partners=images.partners[rows])
        for rows in (slice(0, 3), slice(3, 6))
    ]
    assert buffered == [value for part in parts for value in scores([rude.Buffered()], part)["Buffered"]]
    assert len(set(buffered)) == len(buffered)


def test_a_similarity_leaves_the_maps_of_its_caller_alone(real_images: tuple[Tensor, Tensor]) -> None:
    a, b = real_images[0][:2, 0].double(), real_images[0][2:4, 0].double()
    before = a.clone(), b.clone()
    rude.InPlace()(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


def test_a_metric_that_raises_fails_alone_and_is_named(images: Images) -> None:
    found = evaluate(load("digits/natural"), Saliency(), TopK(steps=1), [Cosine(), rude.Failing()], images, RULES)
    assert list(found.failures) == [1]
    assert found.failures[1].error == "metric Failing: RuntimeError: out of luck"
    assert "in judge" in found.failures[1].traceback
    assert found.values[0].isfinite().all()


def test_a_metric_that_ends_the_program_fails_alone(images: Images) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Leaving(rude.Failing):
        def judge(self, case: Case) -> Tensor:
            sys.exit(7)

    found = evaluate(load("digits/natural"), Saliency(), Noise(draws=1), [Leaving(), Cosine()], images, RULES)
    assert [failure.error for failure in found.failures.values()] == ["metric Leaving: SystemExit: 7"]
    assert found.values[1].isfinite().all()


def test_where_every_metric_has_failed_nothing_more_is_attacked(images: Images) -> None:
    found = evaluate(load("digits/natural"), Saliency(), Noise(draws=1), [rude.Failing()], images, RULES)
    assert len(found.feasible) == RULES.batch_size


# Attacks and explainers.


def test_an_attack_that_writes_into_its_context_moves_no_score(images: Images) -> None:
    assert scores(METRICS, images, attack=rude.Vandal()) == scores(METRICS, images, attack=rude.Polite())


def test_an_explainer_that_upsets_the_process_has_the_scores_of_one_that_does_not(images: Images) -> None:
    upset = scores(METRICS, images, explainer=rude.Upsetting(), attack=Noise(draws=2))
    assert upset == scores(METRICS, images, explainer=Saliency(), attack=Noise(draws=2))


def test_an_explainer_that_changes_the_network_later_than_it_was_tried_is_named(images: Images) -> None:
    with pytest.raises(ValueError, match="the explainer changes the network; work on copies"):
        scores([Cosine()], images, explainer=rude.Drifting())


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_explainer_that_changes_images_is_named_and_leaves_network_and_images_alone(
    create_graph: bool, real_images: tuple[Tensor, Tensor]
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Grey(Saliency):
        def attribute(self, model: nn.Module, x: Tensor, target: Tensor, **options: object) -> Tensor:
            maps = super().attribute(model, x, target, **options)  # type: ignore[arg-type]
            x.data.mul_(0.5)
            return maps

    network, x = load("digits/natural"), real_images[0][:3].clone().requires_grad_(create_graph)
    with pytest.raises(ValueError, match="the explainer changes the images; work on copies"):
        Grey()(network, x, real_images[1][:3], create_graph=create_graph)
    assert create_graph or torch.equal(x, real_images[0][:3])


def test_networks_and_components_of_the_caller_are_left_alone(images: Images) -> None:
    network, buffered = load("digits/natural"), rude.Buffered()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    evaluate(network, Saliency(), rude.Vandal(), [*RUDE, buffered], images, RULES)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert not network.training
    assert not buffered.buffer


# Training: methods, datasets, models.


@pytest.fixture(scope="module")
def small(digits: Loaded) -> Loaded:
    parts = {name: digits.splits[name] for name in digits.splits}
    some = {name: ArraySplit(split.pixels(range(64)), split.labels[:64].clone()) for name, split in parts.items()}
    return replace(digits, splits=some)


def trained(method: Method, data: Loaded, folder: Path, recipe: Recipe) -> dict[str, Tensor]:
    found = train(
        method, LeNet(width=4, hidden=8), data, recipe, seed=0, device=torch.device("cpu"), resume=folder / str(method)
    )
    return found.model.state_dict()


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return replace(load_recipe("digits"), epochs=2, batch_size=16, augment="crop-flip")


def test_a_method_that_upsets_the_process_trains_as_if_it_did_not(
    small: Loaded, recipe: Recipe, tmp_path: Path
) -> None:
    careless, natural = (trained(method, small, tmp_path, recipe) for method in (rude.Careless(), Natural()))
    assert all(torch.equal(value, careless[key]) for key, value in natural.items())


def test_a_method_that_changes_the_network_it_started_from_is_named(
    small: Loaded, recipe: Recipe, tmp_path: Path
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Forgetful(Natural):
        def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
            assert batch.start is not None
            next(batch.start.parameters()).data.mul_(0.9)
            yield from super().losses(model, batch)

    family, device = LeNet(width=4, hidden=8), torch.device("cpu")
    start = fresh_network(Natural(), family, small, seed=1)
    with pytest.raises(TrainingError, match=r"Forgetful changes batch\.start; work on a copy of it"):
        train(Forgetful(), family, small, recipe, seed=0, device=device, resume=tmp_path / "resume", start=start)


def test_training_is_the_same_whatever_mode_its_caller_is_in(small: Loaded, recipe: Recipe, tmp_path: Path) -> None:
    wanted = trained(Natural(), small, tmp_path / "plain", recipe)
    with restored(), torch.inference_mode():
        torch.set_default_dtype(torch.float64)
        found = trained(Natural(), small, tmp_path / "inference", recipe)
    assert all(torch.equal(value, found[key]) for key, value in wanted.items())


def test_a_network_that_changes_its_images_is_refused(digits: Loaded) -> None:
    class Halving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = load("digits/natural")

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x.mul_(0.5))
            return logits

    with pytest.raises(ValueError, match="the network Halving changes the images it is given"):
        check_logits(Halving().eval(), digits)


def test_a_retraining_metric_that_writes_into_its_context_moves_no_other(small: Loaded) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Means(RetrainingMetric):
        higher_is_better = True
        bounds = (0.0, float("inf"))
        trainings = 0

        def evaluate(self, context: RetrainingContext) -> Tensor:
            means = (context.maps("test").double() + context.images["test"][:, 0]).flatten(1).mean(dim=1)
            return means[None]

    @dataclass(frozen=True, kw_only=True)
    class Greedy(Means):
        def evaluate(self, context: RetrainingContext) -> Tensor:
            means = super().evaluate(context)
            context.maps("test").zero_()
            for images in context.images.values():
                images.zero_()
            rude.upset_the_process()
            return means

    def retrain(*_: object) -> Tensor:
        raise AssertionError("nothing is trained here")

    network, rules = load("digits/natural"), replace(RULES, batch_size=32)
    alone = evaluate_retraining(network, Saliency(), [Means()], small, rules, retrain)
    beside = evaluate_retraining(network, Saliency(), [Greedy(), Means()], small, rules, retrain)
    assert torch.equal(alone[0], beside[1])


def test_a_dataset_that_hands_out_its_own_tensors_keeps_them(recipe: Recipe) -> None:
    split = load_dataset(rude.LendingDigits(), None, "lending").splits["val"]
    x, y = (part.clone() for part in split.batch(range(4)))
    for tensor in (*split.batch(range(4)), split.pixels(range(4))):
        tensor.zero_()
    assert torch.equal(split.batch(range(4))[0], x)
    assert torch.equal(split.batch(range(4))[1], y)
    assert torch.equal(split.labels[:4], y)


def test_an_architecture_that_returns_one_network_again_shares_no_weights(digits: Loaded) -> None:
    first = fresh_network(Natural(), rude.OneNetwork(), digits, seed=0)
    before = {key: value.clone() for key, value in first.state_dict().items()}
    for parameter in first.parameters():
        parameter.data.zero_()
    second = fresh_network(Natural(), rude.OneNetwork(), digits, seed=0)
    assert all(torch.equal(value, before[key]) for key, value in second.state_dict().items())


# Runs.

PLUGIN = '''"""Components that change what they can, but for the two images that are tried before a run."""

from dataclasses import dataclass

import numpy as np
import torch

from attrobust import Attack, Explainer, Quality, Similarity
from attrobust import register_attack, register_explainer, register_metric

torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
np.seterr(all="raise")


@register_metric("in-place")
@dataclass(frozen=True, kw_only=True)
class InPlace(Similarity):
    higher_is_better = True
    bounds = (0.0, 1.0)

    def __post_init__(self):
        torch.set_default_dtype(torch.float64)

    def compare(self, a, b):
        if len(a) > 2:
            a.zero_(), b.zero_()
        torch.set_default_dtype(torch.float64)
        return torch.zeros(len(a))


@register_metric("moody")
@dataclass(frozen=True, kw_only=True)
class Moody(Quality):
    higher_is_better = True
    bounds = (0.0, 1.0)
    scope = "attack"

    def judge(self, case):
        if len(case.clean) > 2:
            raise RuntimeError("out of luck")
        return torch.zeros(len(case.clean))


@register_attack("vandal")
@dataclass(frozen=True, kw_only=True)
class Vandal(Attack):
    def run(self, context, x, y):
        if len(x) <= 2:
            return x
        context.partners.zero_(), x.zero_(), y.zero_()
        for parameter in context.model.parameters():
            parameter.data.zero_()
        torch.set_default_dtype(torch.float64)
        return x
'''


def test_a_run_with_rude_plugins_has_the_numbers_of_one_without(tmp_path: Path, capsys: Capture) -> None:
    plugin = tmp_path / "rude.py"
    plugin.write_text(PLUGIN)
    metrics = "cosine,target-similarity,normalized-l2"
    common = ["--methods", "natural", "--images", "4", "--explainers", "saliency", "--baselines", "none"]
    common += ["--accuracy-attack", "apgd:steps=2"]
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    words = [*common, "--attacks", "topk:steps=1", "--metrics", metrics]
    assert run([*words, "--out", alone], capsys)[0] == 0
    words = [*common, "--plugin", plugin, "--attacks", "vandal,topk:steps=1", "--metrics", f"moody,in-place,{metrics}"]
    code, _, err = run([*words, "--out", beside], capsys)
    assert code == 1
    failed = [line for line in err.splitlines() if line.startswith("failed: natural")]
    assert failed == [
        f"failed: natural / saliency / {attack}: metric Moody: RuntimeError: out of luck"
        for attack in ("vandal", "topk:steps=1")
    ]
    assert numbers(alone).items() <= numbers(beside).items()
    assert [row["metric"]["name"] for row in written_rows(beside).values() if row["status"] == "failed"] == [
        "moody"
    ] * 2


def test_what_a_failing_metric_leaves_to_do_is_that_metric_alone(tmp_path: Path, capsys: Capture) -> None:
    plugin, out = tmp_path / "moody.py", tmp_path / "run"
    plugin.write_text(PLUGIN)
    words = [
        "--plugin",
        plugin,
        "--methods",
        "natural",
        *FAST[:-1],
        "topk:steps=1",
        "--metrics",
        "cosine,moody",
        "--out",
        out,
    ]
    assert run(words, capsys)[0] == 1
    first = written_rows(out)
    assert run(words, capsys)[0] == 1
    again = written_rows(out)
    changed = [row["metric"]["name"] for key, row in again.items() if row["provenance"] != first[key]["provenance"]]
    assert set(changed) <= {"moody"}
    lines = (out / "rows.jsonl").read_text().splitlines()
    assert len(lines) == len(first) + 1, "the failed row again, and no other"


def numbers(folder: Path) -> dict[tuple[str, str], object]:
    """The scores of a run that are there, by attack and metric."""
    return {
        (row["cell"]["attack"].get("name", ""), row["metric"]["name"]): (row["mean"], row["scores_sha256"])
        for row in written_rows(folder).values()
        if row["status"] == "ok"
    }
