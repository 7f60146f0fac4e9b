"""Every flag is raised by a network made to deserve it, by that alone, and by none of the shipped ones."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.attacks.base import Attack, Context
from attrobust.attacks.noise import Noise
from attrobust.attacks.topk import TopK
from attrobust.attacks.transfer import Transfer
from attrobust.benchmark.audit import answers, case, jumps, masking, uninformative
from attrobust.benchmark.audit.filling import filled
from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.benchmark.report.beaten import beaten, yardsticks
from attrobust.benchmark.run import flags as audits
from attrobust.benchmark.store.plan import AttackFacts
from attrobust.explainers.base import Explainer, UnderivedExplainer
from attrobust.explainers.baselines import Constant, Edges, Input, Random
from attrobust.explainers.ig import IG
from attrobust.explainers.input_x_gradient import InputXGradient
from attrobust.explainers.occlusion import Occlusion
from attrobust.explainers.saliency import Saliency
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.threat import ThreatModel

from helpers.runs import ROOT, run

Pictures = tuple[Tensor, Tensor]


class Step(nn.Module):
    """A function as the first layer of a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def before(function: Callable[[Tensor], Tensor], network: str = "digits/softplus") -> nn.Module:
    """A shipped network that sees what a function makes of its input."""
    return nn.Sequential(Step(function), load(network)).eval()


def subject(model: nn.Module, images: Pictures, explainer: Explainer) -> case.AuditCase:
    """What the audit of a network and an explainer looks at."""
    x, y = images
    rules = Rules(threat=ThreatModel(eps=16 / 255), reduction="abs-sum", label="predicted", seed=0, batch_size=64)
    return case.AuditCase(model.eval(), explainer, Images(x=x, y=y, partners=x.roll(1, 0)), rules)


def flags(
    model: nn.Module, images: Pictures, explainer: Explainer | None = None, *, eps: float = 16 / 255, **rules: Any
) -> dict[str, str]:
    """Name and reason of every flag that the audit raises."""
    x, y = images
    threat = ThreatModel(eps=eps, norm=rules.pop("norm", "linf"), keep_prediction=rules.pop("keep", True))
    settings = {"reduction": "abs-sum", "label": "predicted", "seed": 0, "batch_size": 64} | rules
    found = probe(
        model.eval(), explainer or Saliency(), Images(x=x, y=y, partners=x.roll(1, 0)), Rules(threat=threat, **settings)
    )
    assert len({flag.name for flag in found}) == len(found)
    return {flag.name: flag.reason for flag in found}


@pytest.fixture(scope="module")
def few_images(real_images: Pictures) -> Pictures:
    """Six of the images, where no flag speaks of their number."""
    x, y = real_images
    return x[:6], y[:6]


SHIPPED = [f"digits/{name}" for name in ("natural", "softplus", "aga", "hessian", "pgd-at")]


@pytest.mark.parametrize("explainer", [Saliency(), InputXGradient()], ids=["saliency", "input-x-gradient"])
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_raises_none(name: str, explainer: Explainer, few_images: Pictures) -> None:
    assert flags(load(name), few_images, explainer) == {}


@pytest.mark.parametrize(
    "settings",
    [{"eps": 1 / 255}, {"eps": 64 / 255}, {"eps": 0.5, "norm": "l2"}, {"keep": False}, {"label": "true"}, {"eps": 0}],
    ids=str,
)
def test_the_natural_network_raises_none_under_any_rules(settings: dict[str, Any], few_images: Pictures) -> None:
    assert flags(load("digits/natural"), few_images, **settings) == {}


def test_integrated_gradients_of_the_natural_network_raise_none(few_images: Pictures) -> None:
    assert flags(load("digits/natural"), few_images, IG(steps=4)) == {}


def test_of_the_baselines_only_the_constant_map_is_told(few_images: Pictures) -> None:
    raised = {
        type(baseline).__name__: [*flags(load("digits/natural"), few_images, baseline)]
        for baseline in (Constant(), Random(), Input(), Edges())
    }
    assert raised == {"Constant": ["constant-map"], "Random": [], "Input": [], "Edges": []}


@pytest.mark.parametrize("explainer", [Saliency(), InputXGradient()], ids=["saliency", "input-x-gradient"])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_maps_of_a_shipped_network_mark_what_matters(
    name: str, explainer: Explainer, real_images: Pictures
) -> None:
    audited = subject(load(name), real_images, explainer)
    assert uninformative.uninformative(audited) == []
    removal = uninformative.removed(audited)
    assert removal.gain > 0
    assert removal.p < uninformative.LEVEL


def undeclared(baseline: type[Explainer]) -> Explainer:
    """A sanity-check baseline as a plug-in would have it, which does not say that it is one."""
    return dataclass(frozen=True, kw_only=True)(type("Mine", (baseline,), {"ignores_network": False}))()


def test_explainers_that_never_look_at_the_network_are_told(real_images: Pictures) -> None:
    raised = {
        cls: flags(load("digits/natural"), real_images, undeclared(cls)) for cls in (Constant, Random, Input, Edges)
    }
    assert {cls.__name__: [*names] for cls, names in raised.items()} == {
        "Constant": ["constant-map"],
        "Random": ["maps-ignore-weights"],
        "Input": ["maps-ignore-weights"],
        "Edges": ["maps-ignore-weights"],
    }
    assert "mean correlation of 1.000 with the network's" in raised[Edges]["maps-ignore-weights"]


def test_a_manipulated_network_is_told_and_the_one_it_was_is_not(real_images: Pictures) -> None:
    raised = flags(load("digits/manipulated-fixed-map"), real_images)
    assert [*raised] == ["maps-ignore-image"]
    assert "maps of images of different classes have a mean correlation of 0." in raised["maps-ignore-image"]
    assert flags(load("digits/natural"), real_images) == {}


@dataclass(frozen=True, kw_only=True)
class UpsideDown(Explainer):
    """Marks least what the gradient marks most."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        maps = Saliency().attribute(model, x, target, create_graph=create_graph, generator=generator).abs()
        return maps.amax(dim=(1, 2, 3), keepdim=True) - maps


def test_maps_that_mark_what_matters_least_are_told(real_images: Pictures) -> None:
    raised = flags(load("digits/natural"), real_images, UpsideDown())
    assert [*raised] == ["marks-unused-pixels"]
    assert re.search(r"log-odds fall by \S+ and by \S+ for random ones, p = 0\.0", raised["marks-unused-pixels"])


def test_the_one_map_that_the_gradient_of_a_linear_network_is_is_no_empty_one(real_images: Pictures) -> None:
    x, y = real_images
    layer = nn.Linear(28 * 28, 2, bias=False)
    with torch.no_grad():
        difference = (x[y == y[0]].mean(dim=0) - x[y != y[0]].mean(dim=0)).flatten()
        layer.weight.copy_(torch.stack([difference, -difference]))
    network = nn.Sequential(nn.Flatten(), layer)
    audited = subject(network, real_images, Saliency())
    other = audited.scored.maps(audited.x.flip(0), audited.y.flip(0))
    assert uninformative.correlation(audited.maps, other) == pytest.approx(1)
    assert flags(network, real_images) == {}


def test_with_fewer_images_than_a_test_needs_nothing_is_said_of_what_matters(few_images: Pictures) -> None:
    assert len(few_images[0]) < uninformative.ENOUGH
    assert flags(load("digits/natural"), few_images, UpsideDown()) == {}


def test_the_level_can_be_reached_with_the_fewest_images() -> None:
    together = torch.ones(uninformative.ENOUGH, dtype=torch.float64)
    removal = uninformative.Removal(marked=together, random=torch.zeros_like(together))
    assert removal.p < uninformative.LEVEL
    fewer = uninformative.Removal(marked=together[1:], random=torch.zeros_like(together[1:]))
    assert fewer.p >= uninformative.LEVEL


def test_shuffled_weights_are_the_same_numbers_in_another_order() -> None:
    model = load("digits/natural")
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = uninformative.shuffled(model), uninformative.shuffled(model)
    for name, value in first.named_parameters():
        assert torch.equal(value, again.get_parameter(name))
        assert not torch.equal(value, kept[name])
        assert torch.equal(value.flatten().sort().values, kept[name].flatten().sort().values)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_filled_pixels_are_those_around_them(real_images: Pictures) -> None:
    x = real_images[0].double()
    kept = torch.rand(len(x), 1, *x.shape[2:], generator=torch.Generator().manual_seed(0)) > 0.3
    found = filled(x, kept)
    assert torch.equal(found[kept], x[kept])
    # An interpolation is much nearer than the mean of the image.
    far = (x - x.mean(dim=(1, 2, 3), keepdim=True)).expand_as(x)[~kept].abs().mean()
    assert (found - x)[~kept].abs().mean() < 0.3 * far
    grey = torch.full((1, 3, 9, 5), 0.4, dtype=torch.float64)
    one = torch.zeros(1, 1, 9, 5, dtype=torch.bool)
    assert torch.equal(filled(grey, one), torch.zeros_like(grey))
    one[0, 0, 7, 1] = True
    assert torch.allclose(filled(grey, one), grey)


def _numpy_noise(x: Tensor) -> Tensor:
    return x + 0.01 * torch.as_tensor(np.random.standard_normal(x.shape)).to(x)


def _python_noise(x: Tensor) -> Tensor:
    return x * (1 + 0.01 * random.random())


@pytest.mark.parametrize(
    "noise", [lambda x: F.dropout(x, 0.1, training=True), _numpy_noise, _python_noise], ids=["torch", "numpy", "python"]
)
def test_fresh_noise_in_every_pass_is_a_stochastic_forward(
    noise: Callable[[Tensor], Tensor], real_images: Pictures
) -> None:
    model = before(noise)
    states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    raised = flags(model, real_images)
    assert [*raised] == ["stochastic-forward"]
    assert flags(model, real_images) == raised, "the same figures every time"
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_statistics_of_the_batch_in_the_forward_make_it_depend_on_the_batch(few_images: Pictures) -> None:
    raised = flags(before(lambda x: x - 0.5 * x.mean(dim=0, keepdim=True)), few_images)
    assert [*raised] == ["depends-on-batch"]
    assert "logits" in raised["depends-on-batch"]
    assert "maps" in raised["depends-on-batch"]


@dataclass(frozen=True, kw_only=True)
class ScaledByTheBatch(Explainer):
    """Gradients in units of the largest in the batch."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        maps = Saliency().attribute(model, x, target, create_graph=create_graph, generator=generator)
        return maps / maps.detach().abs().amax()


def test_an_explainer_that_looks_at_the_batch_is_told_from_a_network_that_does(few_images: Pictures) -> None:
    raised = flags(load("digits/softplus"), few_images, ScaledByTheBatch())
    assert [*raised] == ["depends-on-batch"]
    assert "logits" not in raised["depends-on-batch"]


class WrongAlone(torch.autograd.Function):
    """The identity, with a gradient that is wrong for a batch of one image, as a kernel of torch's once was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.count = len(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.flip(3) if ctx.count == 1 else gradient


class WrongBySlope(torch.autograd.Function):
    """The identity, with a gradient that is some percent too long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override] # noqa: ARG004
        return 1.05 * gradient


def test_a_gradient_that_is_not_the_slope_of_the_outputs_is_told(few_images: Pictures) -> None:
    raised = flags(before(WrongBySlope.apply), few_images)
    assert [*raised] == ["gradient-differs"]
    assert "4.8 % away" in raised["gradient-differs"]
    raised = flags(before(WrongAlone.apply), few_images)
    assert [*raised] == ["depends-on-batch", "gradient-differs"]
    assert "of images alone" in raised["gradient-differs"]


def test_kinks_are_no_wrong_gradients(real_images: Pictures) -> None:
    assert not flags(load("digits/natural"), real_images)
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)]
    assert "gradient-differs" not in flags(nn.Sequential(*layers).eval(), real_images)


def linear(ripple: float) -> nn.Module:
    """A linear network with the same weight for every pixel, up to a ripple."""
    layer = nn.Linear(28 * 28, 10)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 1.5, 10)[:, None] * (1 + ripple * torch.linspace(0, 1, 28 * 28)))
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize(("ripple", "raised"), [(0.0, ["constant-map"]), (0.005, ["constant-map"]), (0.02, [])])
def test_a_map_that_marks_nothing_is_constant(ripple: float, raised: list[str], real_images: Pictures) -> None:
    assert [*flags(linear(ripple), real_images)] == raised


def test_one_image_with_a_constant_map_is_no_reason_to_distrust_a_mean(real_images: Pictures) -> None:
    x, y = real_images
    for black, raised in ((1, []), (2, ["constant-map"])):
        images = x.clone()
        images[:black] = 0
        # Products with the input: black images have maps of zeros.
        assert [*flags(load("digits/natural"), (images, y), InputXGradient())] == raised


def test_an_activation_with_no_curvature_has_no_gradient_to_follow(real_images: Pictures) -> None:
    torch.manual_seed(0)
    # So sharp that its second derivative is zero in float32, and not a ReLU that attacks would replace.
    sharp = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 32), nn.Softplus(beta=1e6), nn.Linear(32, 10))
    raised = flags(sharp, real_images)
    assert [*raised] == ["gradient-vanishes", "more-steps-do-not-help"]
    assert "zero on 12 of 12 images" in raised["gradient-vanishes"]


def test_a_second_derivative_that_is_infinite_is_no_gradient_to_follow(real_images: Pictures) -> None:
    raised = flags(before(lambda x: x.abs().pow(1.5)), real_images)
    assert [*raised] == ["gradient-vanishes"]
    assert "not finite on 12 of 12 images" in raised["gradient-vanishes"]


class OwnReLU(torch.autograd.Function):
    """A ReLU with a backward pass of its author's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * (x > 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient * (x > 0)


SPELLED: dict[str, Callable[[Tensor], Tensor]] = {
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "mask": lambda x: x * (x > 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "modulus": lambda x: (x + x.abs()) / 2,
    "own": OwnReLU.apply,
}


def spelled(name: str) -> nn.Module:
    """A shipped network whose ReLUs are written in another way."""
    network = load("digits/natural")
    for path, module in [*network.named_modules()]:
        if isinstance(module, nn.ReLU):
            parent, _, last = path.rpartition(".")
            setattr(network.get_submodule(parent), last, Step(SPELLED[name]))
    return network


@pytest.mark.parametrize("eps", [1 / 255, 16 / 255])
@pytest.mark.parametrize("name", SPELLED)
def test_activations_that_attacks_cannot_smooth_are_told(name: str, eps: float, few_images: Pictures) -> None:
    assert [*flags(spelled(name), few_images, eps=eps)] == ["gradient-jumps"]


def test_maps_of_which_attacks_differentiate_the_network_itself_are_not_asked_for_jumps(few_images: Pictures) -> None:
    assert jumps.gradient_jumps(subject(spelled("where"), few_images, Saliency()))
    assert not jumps.gradient_jumps(subject(spelled("where"), few_images, Occlusion(window=7)))


def test_smooth_functions_of_an_author_have_no_jumps(few_images: Pictures) -> None:
    assert "gradient-jumps" not in flags(before(lambda x: torch.sqrt(x**2 + 1e-2)), few_images)


class Quantized(torch.autograd.Function):
    """A staircase whose gradient is said to be that of a straight line, of the wrong slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return (32 * x).round() / 32

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override] # noqa: ARG004
        return -gradient


def staircase() -> nn.Module:
    return before(Quantized.apply)


def test_more_steps_along_a_gradient_that_lies_do_not_help(few_images: Pictures) -> None:
    raised = flags(staircase(), few_images)
    assert [*raised] == ["gradient-differs", "gradient-jumps", "more-steps-do-not-help"]
    assert "12 steps" in raised["more-steps-do-not-help"]


def test_noise_and_transfer_beat_an_attack_along_a_gradient_that_lies(
    few_images: Pictures, make_context: Callable[..., Context]
) -> None:
    x, _ = few_images
    natural = load("digits/natural")

    def scores(model: nn.Module, attack: Attack) -> np.ndarray[Any, np.dtype[np.float64]]:
        context = make_context(model, Saliency(), x, source_model=natural)
        y = context.predict(x)
        attacked = attack(context, x, y).x
        values: np.ndarray[Any, np.dtype[np.float64]] = Cosine()(context.maps(x, y), context.maps(attacked, y)).numpy()
        return values

    rivals = {"noise": Noise(), "transfer": Transfer(steps=10)}
    for model, raised in ((staircase(), True), (load("digits/softplus"), False)):
        attacked = scores(model, TopK(steps=10))
        for name, rival in rivals.items():
            flag = beaten(attacked, scores(model, rival), name, higher_is_better=True)
            assert (flag is not None) == raised
            assert flag is None or flag.name == f"{name}-beats-attack"


def ripples(frequency: float) -> nn.Module:
    """A network that sees its input through ripples: half of every gradient depends on where in one a pixel is."""
    return before(lambda x: x + 0.5 / frequency * torch.sin(frequency * x))


def test_a_larger_eps_does_not_help_where_maps_ripple_within_it(few_images: Pictures) -> None:
    raised = flags(ripples(200), few_images, eps=4 / 255)
    assert [*raised] == ["larger-eps-does-not-help"]
    assert "linf 16/255" in raised["larger-eps-does-not-help"]
    assert "linf 4/255" in raised["larger-eps-does-not-help"]
    # Finer ripples than steps follow: neither helps.
    assert [*flags(ripples(300), few_images, eps=4 / 255)] == ["more-steps-do-not-help", "larger-eps-does-not-help"]


class Thresholds(nn.Module):
    """Adds a steep step of every pixel, of two ReLUs whose difference saturates."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope, self.low, self.high = slope, nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        z = self.slope * (x - 0.5)
        return (x + self.low(z + 0.5) - self.high(z - 0.5)) / 2


def test_a_smooth_view_of_steep_steps_explains_something_else(real_images: Pictures) -> None:
    raised = flags(nn.Sequential(Thresholds(50), load("digits/natural")), real_images)
    assert [*raised] == ["smoothed-differs"]


@dataclass(frozen=True, kw_only=True)
class ClaimError(UnderivedExplainer):
    """Explains single images only."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        raise RuntimeError("out of ideas\nand of lines")


class OwnKink(nn.ReLU6):
    """An activation that attacks know no smooth counterpart of."""


def test_an_audit_that_fails_is_told_and_keeps_what_it_found(real_images: Pictures) -> None:
    raised = flags(load("digits/natural"), real_images, ClaimError())
    assert raised == {"not-audited": "the audit stopped with RuntimeError: out of ideas"}
    # A network that no view can be made of, whose maps depend on the batch.
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(28 * 28, 32), OwnKink(), nn.Linear(32, 10)
    piecewise_linear = nn.Sequential(Step(lambda x: x - 0.5 * x.mean(dim=0, keepdim=True)), *layers)
    raised = flags(piecewise_linear, real_images)
    assert [*raised] == ["depends-on-batch", "not-audited"]
    assert "OwnKink" in raised["not-audited"]


def test_the_audit_leaves_the_network_as_it_was(few_images: Pictures) -> None:
    model = load("digits/natural")
    before_it = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = [(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()]
    flags(model, few_images)
    assert all(torch.equal(value, before_it[name]) for name, value in model.state_dict().items())
    assert [(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "follows", "wanted"),
    [("topk", True, ["n", "t"]), ("nes", False, ["n"]), ("transfer", False, ["n"]), ("noise", False, [])],
)
def test_noise_is_to_be_beaten_by_all_and_transfer_by_what_sees_gradients(
    name: str, follows: bool, wanted: list[str]
) -> None:
    attack = AttackFacts(label="a", name=name, follows_gradient=follows)
    others = [AttackFacts(label=word[0], name=word, follows_gradient=False) for word in ("noise", "transfer")]
    others = [*(other for other in others if other.name != name), attack]
    assert [label for _, label in yardsticks(attack, others)] == wanted


def test_the_page_of_flags_has_every_flag_and_threshold() -> None:
    page = (ROOT / "docs" / "flags.md").read_text()
    sources = [path.read_text() for path in (ROOT / "benchmark" / "audit").glob("*.py")]
    names = {name for text in sources for name in re.findall(r'name="([a-z-]+)"', text)}
    names |= {"noise-beats-attack", "transfer-beats-attack", "at-chance"}
    assert {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")} == names
    assert case.SHARE == 0.1, "a tenth"
    steps = case.PROBE.steps
    for words in (
        *(f"| below {value:g} |" for value in (masking.GAIN, masking.ALIKE, answers.FLAT)),
        f"below {masking.VANISHED:g}".replace("e-06", "e-6"),
        f"first {case.IMAGES} evaluated images",
        f"{steps} steps of steepest descent, or {masking.FACTOR * steps} where it asks for more",
        f"{masking.FACTOR} eps moves maps",
        "at least a tenth of the images",
        f"{answers.ALONE} images are tried",
        f"first {answers.DIFFERENTIATED} images",
        f"above {answers.DIFFERS:.0%}".replace("%", " %"),
        f"above {jumps.UNSEEN:.0%}".replace("%", " %"),
        f"before and after is {uninformative.SAME:g} or more",
        f"mean Pearson correlation is {uninformative.ALIKE:g} or more",
        f"{', '.join(f'{share:.0%}' for share in uninformative.SHARES)}".replace("%", "").replace(", 20", " and 20 %"),
        f"as many in {uninformative.ORDERS} random orders",
        f"at a level of {uninformative.LEVEL:g}",
        f"fewer than {uninformative.ENOUGH} images",
    ):
        assert words in " ".join(page.split()).replace("four images", "4 images").replace("three", "3"), words


WORDS = ["--images", "6", "--explainers", "saliency,constant", "--attacks", "noise:draws=2,topk:steps=2"]
WORDS += ["--methods", "natural", "--metrics", "cosine,spearman", "--baselines", "none"]
WORDS += ["--accuracy-attack", "apgd:steps=2"]
REASON = "constant-map: the values of the map of 6 of 6 images differ by less than 1 % of the largest"


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_flags_are_in_rows_and_tables_and_are_renewed_without_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = [*WORDS, "--full", "--out", folder]

    code, out, _ = run([*words, "--no-audit"], capsys)
    assert code == 0
    assert "constant-map" not in out
    assert "not audited" in out
    assert not any("flags" in row for row in rows(folder))

    code, out, _ = run(words, capsys)
    assert code == 0
    assert " ".join(out.split()).count(f"! natural, constant: {REASON}") == 1, "one note for all attacks and metrics"
    assert "not audited" not in out
    found = rows(folder)
    explained = [row for row in found if row["cell"]["explainer"]]
    assert len(explained) == 2 * 2 * 2 * 2, "every row of a map again"
    for old, new in zip(explained[:8], explained[8:], strict=True):
        same = old.keys() - {"digest"}
        assert {key: new[key] for key in same} == {key: old[key] for key in same}, "as it was"
        names = [flag["name"] for flag in new["flags"]]
        assert names == (["constant-map"] if new["cell"]["explainer"]["name"] == "constant" else [])
    assert "constant-map" in (folder / "leaderboard.csv").read_text()
    assert REASON in (folder / "leaderboard.md").read_text()

    _, out, _ = run([*words, "--json"], capsys)
    shown = [row["flags"] for row in json.loads(out)["rows"] if row["explainer"] == "constant"]
    assert shown
    assert all("constant-map" in names for names in shown)
    assert rows(folder) == found, "nothing is done twice"
    assert run([*words, "--no-audit"], capsys)[0] == 0
    assert rows(folder) == found, "flags stay"
    assert run(["verify", folder], capsys)[0] == 0

    monkeypatch.setattr(audits, "_sources", lambda: "another audit")
    assert run(words, capsys)[0] == 0
    assert [row["audit"] for row in rows(folder)[len(found) :]] == ["another audit"] * 8
    assert run(["verify", folder], capsys)[0] == 0


def test_a_network_is_audited_once_for_each_explainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []

    def count(_model: nn.Module, _explainer: Explainer, images: Images, _rules: Rules) -> list[Any]:
        seen.append(len(images.y))
        return []

    monkeypatch.setattr("attrobust.benchmark.executors.worker.probe", count)
    words = ["--images", "17", "--explainers", "constant,random", "--methods", "natural,aga", "--metrics", "cosine"]
    words += ["--attacks", "noise:draws=1,noise:draws=2,pgd:steps=1", "--baselines", "none"]
    words += ["--accuracy-attack", "apgd:steps=2", "--allow-flips", "--out", str(tmp_path / "run")]
    assert run(words, capsys)[0] == 0
    assert seen == [16] * 4
    of_maps = [row for row in rows(tmp_path / "run") if row["cell"]["explainer"]]
    assert {(row["cell"]["attack"]["name"], "audit" in row) for row in of_maps} == {("noise", True), ("pgd", False)}
    of_accuracy = [row for row in rows(tmp_path / "run") if not row["cell"]["explainer"]]
    assert not any("audit" in row for row in of_accuracy)


def test_a_later_run_takes_flags_from_the_rows_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", "6", "--explainers", "constant", "--methods", "natural", "--metrics", "cosine"]
    words += ["--accuracy-attack", "none", "--baselines", "none", "--out", str(tmp_path / "run")]
    assert run([*words, "--attacks", "noise:draws=1"], capsys)[0] == 0
    monkeypatch.setattr("attrobust.benchmark.executors.worker.probe", None)
    assert run([*words, "--attacks", "noise:draws=1,noise:draws=2"], capsys)[0] == 0
    carried = [(row["flags"], row["audit"]) for row in rows(tmp_path / "run") if row["cell"]["explainer"]]
    assert len(carried) == 2
    assert carried[0] == carried[1]
    assert [flag["name"] for flag in carried[0][0]] == ["constant-map"]
