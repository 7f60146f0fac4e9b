"""Neither the mode that a caller is in nor what was done before decides a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from attrobust import attacks, explainers, load, metrics
from attrobust.attacks.base import AttackOutput, Context
from attrobust.attacks.topk import TopK
from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.contract.transformer import small_transformer
from attrobust.benchmark.evaluation.evaluate import evaluate
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.explainers.ig import IG
from attrobust.explainers.saliency import Saliency
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.faithfulness.insertion import Insertion
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.process import restored
from attrobust.threat import ThreatModel
from attrobust.types import ImageFacts

from helpers.cases import FEW, maker

ContextMaker = Callable[..., Context]
RULES = Rules(threat=ThreatModel(eps=16 / 255), reduction="abs-sum", label="predicted", seed=3, batch_size=3)


@contextmanager
def float64() -> Iterator[None]:
    with restored():
        torch.set_default_dtype(torch.float64)
        yield


@contextmanager
def upset() -> Iterator[None]:
    """All at once, and another place in every random stream."""
    with float64(), torch.no_grad(), torch.device("meta"), torch.autocast("cpu"), torch.random.fork_rng():
        torch.manual_seed(5)
        torch.set_flush_denormal(True)
        yield


MODES = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode, "float64": float64, "everything": upset}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Callable[[], object]:
    return MODES[request.param]


def attacked(name: str, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
    cls = attacks.registry.get(name)
    few = {key: count for key, count in (("steps", 2), ("queries", 24)) if key in cls.__dataclass_fields__}
    return cls(**few)(context, x, y)


@pytest.mark.parametrize("name", ["topk", "mass-center", "nes", "apgd", "transfer"])
def test_an_attack_has_the_same_result_whatever_mode_its_caller_is_in(
    name: str, mode: Callable[[], object], real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:2] for part in real_images)
    prediction = attacks.registry.get(name).on_prediction
    context = make_context(
        load("digits/natural"), Saliency(), x, threat=ThreatModel(eps=16 / 255, keep_prediction=not prediction)
    )
    wanted = attacked(name, context, x, y)
    with mode():  # type: ignore[attr-defined]
        found = attacked(name, context, x, y)
    assert torch.equal(found.x, wanted.x)
    assert not torch.equal(found.x, x)
    assert found.passes == wanted.passes


def test_images_and_networks_made_in_inference_mode_are_attacked_and_explained(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:2] for part in real_images)

    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10)).eval()

    with torch.random.fork_rng():
        network = build()
        with torch.inference_mode():
            made, images, classes = build(), x.clone(), y.clone()
            context = make_context(made, Saliency(), images, source_model=None)
    wanted = TopK(steps=2)(make_context(network, Saliency(), x, source_model=None), x, y)
    assert torch.equal(TopK(steps=2)(context, images, classes).x, wanted.x)
    assert not torch.equal(wanted.x, x)
    assert torch.equal(IG()(made, images, classes), IG()(network, x, y))


@pytest.mark.parametrize("name", explainers.registry.names())
def test_a_map_is_the_same_whatever_mode_its_caller_is_in(name: str, real_images: tuple[Tensor, Tensor]) -> None:
    explainer, x, y = explainers.registry.get(name)(), real_images[0][:1], real_images[1][:1]
    facts = ImageFacts(channels=1, size=28, classes=10, mean=(0.1,), std=(0.3,))
    network = small_transformer(facts) if explainer.needs_attention else load("digits/natural")
    wanted = explainer(network, x, y)
    for enter in (torch.inference_mode, upset):
        with enter():
            found = explainer(network, x, y)
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "name", [name for name in metrics.registry.names() if issubclass(metrics.registry.get(name), CaseMetric)]
)
def test_a_score_is_the_same_whatever_mode_its_caller_is_in(name: str, real_images: tuple[Tensor, Tensor]) -> None:
    case = maker(load("digits/aga"), real_images[0])(slice(0, 2))
    metric = metrics.registry.get(name)(**FEW.get(name, {}))
    wanted = metric.score(case)
    for enter in (torch.inference_mode, upset):
        with enter():
            found = metric.score(case)
        assert torch.equal(found.nan_to_num(-9.0), wanted.nan_to_num(-9.0))


def test_the_scores_of_a_cell_are_the_same_whatever_mode_its_caller_is_in(
    mode: Callable[[], object], real_images: tuple[Tensor, Tensor]
) -> None:
    x, y = (part[:4] for part in real_images)
    images, network = Images(x=x, y=y, partners=x.roll(1, 0)), load("digits/natural")
    words = (network, Saliency(), TopK(steps=1), [Cosine(), Insertion()], images, RULES)
    wanted = evaluate(*words)
    with mode():  # type: ignore[attr-defined]
        found = evaluate(*words)
    assert all(torch.equal(a, b) for a, b in zip(found.values, wanted.values, strict=True))


def test_a_checkpoint_is_the_same_network_whatever_mode_it_is_loaded_in(
    mode: Callable[[], object], real_images: tuple[Tensor, Tensor]
) -> None:
    wanted = load("digits/natural")
    with mode():  # type: ignore[attr-defined]
        found = load("digits/natural")
    assert torch.equal(found(real_images[0]), wanted(real_images[0]))
    found(real_images[0]).sum().backward()


class Remembering(nn.Module):
    """A network that keeps its logits and what they are computed from."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.passes: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        self.passes.append((x, logits))
        return logits


def test_what_a_network_was_used_for_before_decides_no_score_and_no_flag(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:4] for part in real_images)
    images = Images(x=x, y=y, partners=x.roll(1, 0))
    fresh, used = (Remembering(load("digits/natural")).eval() for _ in range(2))
    used(x.clone().requires_grad_()).sum().backward()
    Saliency()(used, x, y)
    results = [
        evaluate(network, Saliency(), TopK(steps=1), [Cosine(), Insertion()], images, RULES).values
        for network in (fresh, used)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert probe(used, Saliency(), images, RULES) == probe(fresh, Saliency(), images, RULES) == []
    outputs = [TopK(steps=2)(make_context(network, Saliency(), x), x, y) for network in (fresh, used)]
    assert torch.equal(outputs[0].x, outputs[1].x)


def test_a_stochastic_network_has_the_same_scores_whatever_else_is_scored(real_images: tuple[Tensor, Tensor]) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = load("digits/natural")

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x + 0.05 * torch.randn_like(x))
            return logits

    x, y = (part[:4] for part in real_images)
    images = Images(x=x, y=y, partners=x.roll(1, 0))

    def scored(*chosen: CaseMetric) -> dict[type[CaseMetric], list[float]]:
        torch.rand(1)
        found = evaluate(Noisy().eval(), Saliency(), TopK(steps=1), chosen, images, RULES)
        return {type(metric): values.tolist() for metric, values in zip(chosen, found.values, strict=True)}

    both = scored(Insertion(), Cosine())
    assert scored(Cosine(), Insertion()) == both
    assert scored(Cosine())[Cosine] == both[Cosine]
