"""``check`` finds what authors of plug-ins get wrong, and passes what is right."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from attrobust import Normalize, explainers, metrics
from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.contract import models
from attrobust.benchmark.contract.bench import Bench
from attrobust.benchmark.contract.check import IMAGES, Report, digits_bench, outcomes
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.request.plugins import load_plugin, module_of
from attrobust.testing import check
from attrobust.types import ImageFacts
from tests.helpers.short_ensemble import shorten

from helpers.mistakes import (
    ATTACK,
    DATASET,
    EXPLAINER,
    METHOD,
    METRIC,
    MISTAKES,
    MODEL,
    WRITTEN_HERE,
    Mistake,
)
from helpers.runs import FAST, run
from helpers.sources import shown_files

Capture = pytest.CaptureFixture[str]
RIGHT = {
    **{name: text for name, text in shown_files("CONTRIBUTING.md").items() if name.endswith(".py")},
    **WRITTEN_HERE,
}
"""Complete files of all axes."""


@pytest.fixture(scope="module")
def bench() -> Bench:
    return digits_bench()


def class_of(text: str, folder: Path) -> type[Any]:
    """The class that a file of this text registers."""
    path = folder / "mine.py"
    path.write_text(text)
    load_plugin(path)
    module = sys.modules[module_of(path)]
    (cls,) = (value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__)
    assert isinstance(cls, type)
    return cls


def test_there_are_at_least_forty_mistakes_on_six_axes() -> None:
    assert len(MISTAKES) >= 40
    assert {mistake.file for mistake in MISTAKES} == RIGHT.keys()


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_file_passes(name: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.py").write_text(RIGHT[name])
    code, out, err = run(["check", tmp_path / "mine.py"], capsys)
    assert (code, err) == (0, ""), out
    assert "FAILED" not in out
    assert out.count("\n  passed  ") >= 5
    assert out.rstrip().endswith("claims hold")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_found_and_named(mistake: Mistake, tmp_path: Path, bench: Bench) -> None:
    right = RIGHT[mistake.file]
    assert mistake.old in right
    cls = class_of(right.replace(mistake.old, mistake.new), tmp_path)
    said = []
    for outcome in outcomes(cls, bench):
        if outcome.problem:
            said.append(f"{outcome.claim}: {outcome.problem}")
            assert "\n" not in outcome.problem
            if mistake.said in said[-1]:
                return
    pytest.fail(f"nothing is said of {mistake.said!r}: {said}")


def built_in() -> list[str]:
    """All that come with attrobust, but for what needs a package, a download or a folder."""
    elsewhere = {"datasets:cifar10", "datasets:mnist", "datasets:fashion-mnist", "datasets:imagefolder", "models:timm"}
    found = [f"{axis}:{name}" for axis, registry in REGISTRIES.items() for name in registry.names()]
    return [name for name in found if name not in elsewhere]


LIGHT: dict[str, dict[str, Any]] = {
    "explainers:kernel-shap": {"size": 10, "samples": 24},
    "explainers:lime": {"size": 10, "samples": 24},
    "explainers:occlusion": {"window": 7, "stride": 7},
    "explainers:feature-ablation": {"size": 7},
    "explainers:shapley-sampling": {"size": 14, "samples": 2},
    "metrics:infidelity": {},
}
"""Settings of those that take long by default and have other words for how long."""


@pytest.fixture(scope="module")
def coarse_bench(coarse: Loaded, coarse_networks: dict[str, nn.Module]) -> Bench:
    """Half the time: no claim speaks of a size."""
    known = {"network": coarse_networks["relu"], "smooth": coarse_networks["softplus"]}
    return Bench(data=coarse, family=LeNet(width=8, hidden=32), count=IMAGES, **known)


@pytest.mark.parametrize("name", built_in())
def test_what_comes_with_attrobust_passes(name: str, coarse_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, rough=1, fine=1, queries=4)
    axis, _, short = name.partition(":")
    item = REGISTRIES[axis].get(short)(**LIGHT.get(name, {}))
    assert [outcome for outcome in outcomes(item, coarse_bench) if outcome.problem] == []


def test_the_command_says_what_is_wrong_and_where_and_exits_with_1(tmp_path: Path, capsys: Capture) -> None:
    text = RIGHT[METHOD].replace("return F.cross_entropy", "return -F.cross_entropy")
    (tmp_path / "mine.py").write_text(text)
    code, out, err = run(["check", tmp_path / "mine.py"], capsys)
    assert (code, err) == (1, "")
    (failed,) = (line for line in out.splitlines() if line.startswith("  FAILED  "))
    line = next(number for number, words in enumerate(text.splitlines(), 1) if words.startswith("    def loss("))
    assert failed.endswith(f"with the right sign? (loss, mine.py line {line})")
    assert "method smoothed (Smoothed)" in out


def test_an_error_is_placed_at_the_authors_own_line(tmp_path: Path, bench: Bench) -> None:
    text = RIGHT[EXPLAINER].replace("return total", "return totl")
    line = next(number for number, words in enumerate(text.splitlines(), 1) if "return totl" in words)
    said = [outcome.problem for outcome in outcomes(class_of(text, tmp_path), bench) if outcome.problem]
    assert said[0].startswith("NameError: name 'totl' is not defined")
    assert said[0].endswith(f"(mine.py line {line})")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "registers no class; decorate it with one of @register_method"),
        ("x = \n", "line 1: SyntaxError"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_cannot_be_checked_is_one_line_and_exit_2(
    text: str | None, message: str, tmp_path: Path, capsys: Capture
) -> None:
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    code, out, err = run(["check", tmp_path / "mine.py"], capsys)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_registered_class_is_checked_by_its_name(capsys: Capture) -> None:
    code, out, _ = run(["check", "metrics:cosine"], capsys)
    assert code == 0
    assert "metric cosine (Cosine)" in out
    code, _, err = run(["check", "metrics:cosin"], capsys)
    assert code == 2
    assert "Did you mean 'cosine'?" in err


def test_from_python_it_returns_a_report_or_raises_with_every_broken_claim(tmp_path: Path) -> None:
    report = check(metrics.registry.get("cosine"))
    assert not report.failed
    assert str(report).endswith("claims hold")
    wrong = class_of(RIGHT[EXPLAINER].replace("    stochastic: ClassVar[bool] = True\n", ""), tmp_path)
    with pytest.raises(AssertionError, match=r"say stochastic: ClassVar\[bool\] = True"):
        check(wrong)
    with pytest.raises(TypeError, match="is derived from none of Method, Explainer"):
        check(dict)


def test_an_instance_is_checked_with_its_own_settings() -> None:
    check(explainers.registry.get("occlusion")(window=7, stride=7))  # type: ignore[call-arg]


def test_the_dataset_is_read_from_the_folder_that_is_named(tmp_path: Path, capsys: Capture) -> None:
    text = RIGHT[DATASET].replace(
        "        from sklearn", "        assert root is not None, 'no root'\n        from sklearn"
    )
    (tmp_path / "mine.py").write_text(text)
    assert run(["check", tmp_path / "mine.py"], capsys)[0] == 1
    assert run(["check", tmp_path / "mine.py", "--data-root", tmp_path], capsys)[0] == 0


BEFORE_A_RUN = [
    (METHOD, "takes 4 positional", ["--methods", "natural,smoothed"]),
    (METHOD, "the loss is a float, not a tensor", ["--methods", "natural,smoothed:amount=0.2"]),
    (EXPLAINER, "say stochastic: ClassVar[bool] = True", ["--methods", "natural", "--explainers", "noisy-gradient"]),
    (ATTACK, "run returned (2, 28, 28)", ["--methods", "natural", "--attacks", "noise,corners"]),
    (ATTACK, "changes partners in place", ["--methods", "natural", "--attacks", "corners:draws=2"]),
    (METRIC, "its bounds are 0 and 0.3", ["--methods", "natural", "--metrics", "ruzicka"]),
    (METRIC, "in place; work on a copy", ["--methods", "natural", "--metrics", "ruzicka,cosine"]),
    (MODEL, "images of 13 classes", ["--methods", "natural", "--model", "allconv"]),
    (MODEL, "leave softmax out", ["--methods", "natural", "--model", "allconv:width=8"]),
]


@pytest.mark.parametrize(("file", "said", "words"), BEFORE_A_RUN)
def test_a_mistake_ends_a_run_before_anything_is_trained(
    file: str, said: str, words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    said_of = {"run returned (2, 28, 28)": "run returned (4, 28, 28)"}.get(said, said)
    (mistake,) = (item for item in MISTAKES if item.file == file and item.said == said_of)
    (tmp_path / "mine.py").write_text(RIGHT[file].replace(mistake.old, mistake.new))
    options = ["--plugin", tmp_path / "mine.py", "--retrain", "--out", tmp_path / "run"]
    code, out, err = run([*FAST, *words, *options], capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith(f"error: {words[-1].rpartition(',')[2] if file != METRIC else 'ruzicka'}: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("run/checkpoints/*"))
    assert not (tmp_path / "run" / "rows.jsonl").exists()


def test_what_is_right_runs_beside_what_comes_with_attrobust(tmp_path: Path, capsys: Capture) -> None:
    words: list[str | Path] = []
    for number, name in enumerate(RIGHT):
        if name != DATASET:
            (tmp_path / f"mine{number}.py").write_text(RIGHT[name])
            words += ["--plugin", tmp_path / f"mine{number}.py"]
    words += ["--methods", "smoothed", "--model", "allconv", "--epochs", "1", "--explainers", "noisy-gradient"]
    words += ["--attacks", "corners", "--metrics", "ruzicka,upper-half"]
    code, out, err = run([*FAST, *words, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    assert "Ruzicka" in out


def test_what_belongs_to_no_axis_or_ends_the_program_is_said_in_words(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.py").write_text(
        "from attrobust import register_method\n\n\n@register_method('own')\nclass Own:\n    pass\n"
    )
    code, _, err = run(["check", tmp_path / "mine.py"], capsys)
    assert code == 2
    assert err.startswith("error: Own is derived from none of Method, Explainer, Attack")
    text = RIGHT[METHOD].replace("return F.cross", "raise SystemExit('no')\n        return F.cross")
    (tmp_path / "ends.py").write_text(text)
    code, out, _ = run(["check", tmp_path / "ends.py"], capsys)
    assert code == 1
    assert "SystemExit: no (ends.py line" in out


def test_a_class_typed_at_a_prompt_can_be_checked(bench: Bench) -> None:
    def typed(text: str) -> type[Any]:
        prompt: dict[str, Any] = {"__name__": "__main__"}
        text = text.replace("from __future__ import annotations\n", "")
        exec(compile(text, "<stdin>", "exec", dont_inherit=True), prompt)
        found: type[Any] = prompt["Ruzicka"]
        return found

    assert [outcome for outcome in outcomes(typed(RIGHT[METRIC]), bench) if outcome.problem] == []
    wrong = typed(RIGHT[METRIC].replace("return torch.min", "return torch.minn").replace('"ruzicka"', '"other"'))
    (problem, *_) = (outcome.problem for outcome in outcomes(wrong, bench) if outcome.problem)
    assert "has no attribute 'minnimum'" in problem


def test_what_breaks_every_claim_is_said_once(tmp_path: Path, bench: Bench) -> None:
    text = RIGHT[EXPLAINER].replace("return total /", "raise RuntimeError('broken') or")
    problems = [outcome.problem for outcome in outcomes(class_of(text, tmp_path), bench) if outcome.problem]
    assert sum("broken" in problem for problem in problems) == 1
    assert problems.count("as above") > 5


KEPT = [
    (
        EXPLAINER,
        "        x = x if create_graph",
        "        key = x.detach().numpy().tobytes(), *target.tolist()\n"
        "        if not create_graph and key in globals():\n"
        "            return globals()[key]\n"
        "        x = x if create_graph",
        "return total / self.samples",
        "globals()[key] = (total / self.samples).detach()\n        return total / self.samples",
    ),
    (
        ATTACK,
        "        clean, predicted =",
        "        key = x.numpy().tobytes()\n"
        "        if key in globals():\n"
        "            return globals()[key]\n"
        "        clean, predicted =",
        "return best",
        "globals()[key] = best\n        return best",
    ),
]
"""Files that keep what they computed, with no word of the network, and what is changed in the right ones."""


@pytest.mark.parametrize(("file", "old", "new", "last", "kept"), KEPT, ids=["explainer", "attack"])
def test_results_that_are_kept_for_other_networks_are_found(
    file: str, old: str, new: str, last: str, kept: str, tmp_path: Path, bench: Bench
) -> None:
    cls = class_of(RIGHT[file].replace(old, new).replace(last, kept), tmp_path)
    said = [outcome.problem for outcome in outcomes(cls, bench)]
    assert any("without a pass through it; keep nothing between calls" in problem for problem in said), said


@pytest.mark.parametrize("activation", ["nn.GELU()", "nn.Tanh()", "nn.LeakyReLU()", "nn.Identity()", "nn.Dropout(0.2)"])
def test_architectures_with_other_activations_or_dropout_are_right(
    activation: str, tmp_path: Path, bench: Bench
) -> None:
    cls = class_of(RIGHT[MODEL].replace("nn.ReLU()", activation), tmp_path)
    assert [outcome for outcome in outcomes(cls, bench) if outcome.problem] == []


def test_a_method_whose_network_has_dropout_is_right(tmp_path: Path, bench: Bench) -> None:
    prepare = (
        "    def prepare(self, model: nn.Module) -> nn.Module:\n"
        "        dropped = any(isinstance(module, nn.Dropout) for module in model.modules())\n"
        "        return model if dropped else nn.Sequential(model, nn.Dropout(0.1))\n\n"
        "    def cost("
    )
    cls = class_of(RIGHT[METHOD].replace("    def cost(", prepare), tmp_path)
    assert [outcome for outcome in outcomes(cls, bench) if outcome.problem] == []


@dataclass(frozen=True, kw_only=True)
class ZeroHead(ModelFamily):
    """A network whose logits are zero before it is trained, as those of torchvision's vision transformers are."""

    inside: bool = True
    tail: Literal["", "detached", "constant", "batch"] = ""

    def network(self, facts: ImageFacts) -> nn.Module:
        hidden, head = nn.Linear(facts.channels * facts.size**2, 8), nn.Linear(8, facts.classes)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        first: list[nn.Module] = [Normalize(facts.mean, facts.std)] if self.inside else []
        return nn.Sequential(*first, nn.Flatten(), hidden, *([Tail(self.tail)] if self.tail else []), head)


class Tail(nn.Module):
    """What makes a network wrong that logits of zero hide."""

    def __init__(self, tail: str) -> None:
        super().__init__()
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        if self.tail == "batch":
            return x - x.mean(dim=0)
        return x.detach() if self.tail == "detached" else torch.zeros_like(x) * x.sum()


INSIDE, REACH, APART = "The network normalises inside", "Gradients reach", "An image's logits do not depend"


@pytest.mark.parametrize(
    ("family", "wrong"),
    [
        (ZeroHead(), {}),
        (ZeroHead(inside=False), {INSIDE: "add Normalize(facts.mean, facts.std) in front"}),
        (ZeroHead(tail="detached"), {REACH: "which the logits depend on; leave out detach"}),
        (ZeroHead(tail="batch"), {INSIDE: None, APART: "depend on the images beside it"}),
        (ZeroHead(tail="constant"), {REACH: "since the logits are the same for all images, whatever the weights"}),
    ],
    ids=lambda value: f"{value.inside}-{value.tail}" if isinstance(value, ZeroHead) else "",
)
def test_logits_that_begin_at_zero_hide_no_mistake(
    family: ZeroHead, wrong: dict[str, str | None], bench: Bench
) -> None:
    tried = {outcome.claim: outcome for outcome in models.CONTRACT.outcomes(family, bench)}
    for claim, outcome in tried.items():
        said = next((text for start, text in wrong.items() if claim.startswith(start)), "")
        if said is not None and claim != "It trains: a step with batch statistics lowers the loss":
            assert said in outcome.problem if said else not outcome.problem, outcome
    undecided = [claim for claim, outcome in tried.items() if outcome.undecided]
    assert bool(undecided) is (family.tail == "constant")
    assert all(claim.startswith(INSIDE) for claim in undecided)


def test_a_claim_that_cannot_be_decided_says_why_and_counts_neither_way(bench: Bench) -> None:
    outcomes = tuple(models.CONTRACT.outcomes(ZeroHead(tail="constant"), bench))
    report = Report("zero", "model", outcomes)
    (unknown,) = (text for text in str(report).splitlines() if text.startswith("  unknown "))
    assert unknown.endswith("cannot be decided, because the logits are the same for all images, whatever the weights")
    holding = len(outcomes) - len(report.failed) - 1
    assert f"{holding} of {len(outcomes)} claims hold, 1 cannot be decided" in str(report)


def test_a_plain_vision_transformer_does_not_normalise_inside(bench: Bench) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Plain(ModelFamily):
        def network(self, facts: ImageFacts) -> nn.Module:
            from torchvision.models import VisionTransformer

            sizes = {"image_size": 28, "patch_size": 14, "num_layers": 1, "num_heads": 1}
            network = VisionTransformer(**sizes, hidden_dim=8, mlp_dim=8, num_classes=facts.classes)
            network.conv_proj = nn.Conv2d(facts.channels, 8, 14, 14)
            return network

    tried = {outcome.claim: outcome.problem for outcome in models.CONTRACT.outcomes(Plain(), bench)}
    assert [claim for claim, problem in tried.items() if "add Normalize" in problem and claim.startswith(INSIDE)]
    assert not next(problem for claim, problem in tried.items() if claim.startswith(REACH))
