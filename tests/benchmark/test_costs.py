"""What a run is said to cost: passes to the last one, batches that fit into memory, and words that fit the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrobust import load, machine
from attrobust.attacks import registry as attack_registry
from attrobust.attacks.base import Attack
from attrobust.benchmark.command.costs import cost_lines, count
from attrobust.benchmark.data.base import image_facts
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.evaluation.evaluate import evaluate, judge
from attrobust.benchmark.evaluation.inputs import Rules
from attrobust.benchmark.executors.inputs import images_of
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.request.protocol import load_protocol
from attrobust.benchmark.run import together
from attrobust.benchmark.run.estimate import CellCost, Estimate
from attrobust.benchmark.run.memory import Peak, fitting, most, peak_of
from attrobust.benchmark.run.runner import Runner
from attrobust.explainers import registry as explainer_registry
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import Sampling, memory_budget, sampled
from attrobust.metrics import registry as metric_registry
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.randomisation.mprt import Mprt
from attrobust.naming.component import resolve_one
from attrobust.networks.passes import Passes, counted
from attrobust.process import seeded
from attrobust.threat import ThreatModel

from helpers.requests import request_of
from helpers.runs import run

Capture = pytest.CaptureFixture[str]
MANY_COPIES = ("ig:steps=6", "smoothgrad:samples=5", "occlusion", "lime", "shapley-sampling", "gradient-shap", "relex")
WORDS = ["--methods", "natural", "--baselines", "none", "--no-audit", "--accuracy-attack", "none", "--images", "6"]


def explainer_of(text: str) -> Explainer:
    return resolve_one(explainer_registry, text, Explainer).item


def passes_of_a_map(explainer: Explainer, network: nn.Module, x: Tensor, *, graph: bool) -> Passes:
    x = x.clone().requires_grad_(graph)
    with counted(network) as passes, seeded(0):
        maps = explainer(network, x, torch.zeros(len(x), dtype=torch.int64), create_graph=graph)
        if graph:
            torch.autograd.grad(maps.square().sum(), x)
    assert maps.shape == x.shape
    assert bool(maps.isfinite().all())
    return passes


@pytest.mark.parametrize("budget", [None, 2**16], ids=["at once", "in chunks"])
@pytest.mark.parametrize("graph", [False, True], ids=["map", "its derivative"])
@pytest.mark.parametrize("text", MANY_COPIES)
def test_two_copies_count_for_all(
    text: str, graph: bool, budget: int | None, real_images: tuple[Tensor, Tensor]
) -> None:
    explainer, x, network = explainer_of(text), real_images[0][:2], load("digits/natural").requires_grad_(False)
    if graph and not explainer.differentiable:
        pytest.skip("it has no derivative")
    with memory_budget(budget):
        whole = passes_of_a_map(explainer, network, x, graph=graph)
        with sampled(Sampling()):
            part = passes_of_a_map(explainer, network, x, graph=graph)
    assert part == whole


@pytest.mark.parametrize("attack", ["noise:draws=3", "topk:steps=3", "direct:steps=2,score=cosine"])
@pytest.mark.parametrize("text", ["saliency", "ig:steps=4", "smoothgrad:samples=3", "occlusion:window=8,stride=4"])
def test_estimated_passes_are_those_of_the_run(
    text: str, attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of attacks whose number of passes depends on no image: none that bisects, none that is done early."""
    monkeypatch.setattr("attrobust.benchmark.run.estimate.PATIENCE", 1e9)
    runner = Runner(request_of_cell(tmp_path, text, attack), [])
    estimate = runner.estimate(runner.left)
    assert estimate is not None
    cell = estimate.cells["natural", text, attack]
    worker_network, batch = load("digits/natural"), runner.left.batches[0][0]
    images = images_of(runner.data.splits["test"], 6)
    whole = batch.whole
    assert whole.explainer is not None
    assert whole.attack is not None
    metrics = [metric.item for metric in whole.metrics if isinstance(metric.item, CaseMetric)]
    rules = Rules(threat=ThreatModel(**whole.cell.threat), reduction="abs-sum", label="predicted", seed=0, batch_size=6)
    with counted(worker_network) as passes:
        evaluate(worker_network, whole.explainer.item, whole.attack.item, metrics, images, rules)
    assert cell.passes == passes.forward + passes.backward + passes.double_backward


def test_passes_of_a_metric_that_randomises_layers_are_those_of_all_layers_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted on a network of six layers, whatever that of the run has."""
    monkeypatch.setattr("attrobust.benchmark.run.estimate.PATIENCE", 1e9)

    def passes() -> float:
        request = request_of_words(tmp_path, explainers=("saliency",), attacks=("noise:draws=1",), metrics=("mprt",))
        runner = Runner(request, [])
        estimate = runner.estimate(runner.left)
        assert estimate is not None
        (cell,) = (cell for cell in estimate.cells.values() if cell.attack == "map metrics")
        return cell.passes

    network = load("digits/natural")
    images = images_of(Digits().load(None).splits["test"], 6)
    rules = Rules(threat=ThreatModel(eps=0.1), reduction="abs-sum", label="predicted", seed=0, batch_size=6)
    with counted(network) as counts:
        judge(network, explainer_of("saliency"), [Mprt()], images, rules)
    assert passes() == counts.forward + counts.backward
    monkeypatch.setattr("attrobust.benchmark.run.together.Together.count_of_layers", lambda *_: 41)
    assert passes() == counts.forward + counts.backward + 2 * 6 * (41 - 6)


def request_of_cell(folder: Path, explainer: str, attack: str, **settings: Any) -> Any:
    return request_of_words(
        folder, explainers=(explainer,), attacks=(attack,), metrics=("cosine",), keep_prediction=False, **settings
    )


def request_of_words(folder: Path, *, memory: str | None = None, batch_size: int | None = None, **changes: Any) -> Any:
    stated = {"methods": ("natural",), "accuracy_attack": "", "baselines": (), "images": 6} | changes
    protocol = load_protocol("quick").override(**stated)
    return request_of(protocol, folder / "run", memory=memory, batch_size=batch_size)


@pytest.mark.parametrize("text", ["smoothgrad:samples=3", "gradient-shap:samples=2"])
@pytest.mark.parametrize("attack", ["noise:draws=2", "topk:steps=3,restarts=2", "nes:queries=12"])
def test_scores_depend_on_the_batch_by_rounding_only(text: str, attack: str) -> None:
    """In float64, in which kernels for batches of different sizes differ by 1e-15; six images at once, by two, by one.

    Random numbers belong to an image by its place in the list, whatever it is attacked together with.
    """
    data = Digits(size=8).load(None)
    with seeded(0):
        network = LeNet(width=4, hidden=8).build(image_facts(data)).double().eval()
    images = images_of(data.splits["test"], 6).take(range(6))
    images = replace(images, x=images.x.double(), partners=images.partners.double())
    metrics = [resolve_one(metric_registry, name, CaseMetric).item for name in ("cosine", "spearman")]  # type: ignore[type-abstract]
    item = resolve_one(attack_registry, attack, Attack).item  # type: ignore[type-abstract]
    rules = Rules(threat=ThreatModel(eps=16 / 255), reduction="abs-sum", label="predicted", seed=3, batch_size=6)
    found = [
        evaluate(network, explainer_of(text), item, metrics, images, replace(rules, batch_size=size)).values
        for size in (6, 2, 1)
    ]
    for other in found[1:]:
        for scores, expected in zip(other, found[0], strict=True):
            torch.testing.assert_close(scores, expected, rtol=0, atol=1e-8)


def test_the_largest_piece_of_work_decides_how_many_images_fit() -> None:
    peak = Peak(fixed=100, each=10)
    assert peak.of(3) == 130
    assert [peak.fitting(room) for room in (0, 109, 110, 150, 420)] == [1, 1, 1, 5, 32]
    peaks = (peak, Peak(fixed=0, each=50))
    assert (most(peaks, 1), most(peaks, 4), fitting(peaks, 420)) == (110, 200, 8)


def test_the_peak_of_a_piece_of_work_is_what_it_allocates() -> None:
    if not machine.forget_peak():
        pytest.skip("the system does not say what a process has at its peak")
    cpu, size = torch.device("cpu"), 2**27
    assert 0.95 * size < (peak_of(lambda: torch.ones(size // 4).sum(), cpu) or 0) < 1.2 * size
    assert (peak_of(lambda: None, cpu) or 0) < 0.2 * size


PEAK = Peak(fixed=100, each=10)


def tight(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A machine on which a batch may take little, and on which every image takes the same."""
    monkeypatch.setattr(together.Together, "_room", lambda *_: room)
    monkeypatch.setattr(together, "measured", lambda *_: (PEAK,))


def sizes_of(runner: Runner) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for batch, _ in runner.left.batches:
        found.setdefault(batch.whole.attack.label if batch.whole.attack else "", set()).add(batch.together)
    return found


def test_memory_chooses_batches_and_never_those_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tight(monkeypatch, 100 + 10 * 3)
    runner = Runner(request_of_words(tmp_path, attacks=("topk:steps=1", "frame:variant=paper,width=1")), [])
    sizes = sizes_of(runner)
    assert sizes["topk:steps=1"] == {2}
    assert sizes["frame:variant=paper,width=1"] == {64}, "its result depends on the batch"
    assert len([batch for batch, _ in runner.left.batches if batch.whole.attack and "topk" in batch.label]) == 3 * 2
    tight(monkeypatch, 10**9)
    roomy = Runner(request_of_words(tmp_path, attacks=("topk:steps=1",)), [])
    assert sizes_of(roomy)["topk:steps=1"] == {64}
    assert runner.request.recipe == roomy.request.recipe


def test_a_batch_that_was_typed_is_kept_and_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tight(monkeypatch, 100 + 10 * 3)
    runner = Runner(request_of_words(tmp_path, attacks=("topk:steps=1",), batch_size=5), [])
    assert sizes_of(runner)["topk:steps=1"] == {5}
    line = next(line for line in runner.notes if "topk" in line)
    assert "5 images at a time may take" in line
    assert line.endswith("--batch-size 2 would fit")
    assert "\n" not in line


def test_a_small_network_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tight(monkeypatch, 4 * 2**30)
    monkeypatch.setattr(together, "measured", lambda *_: pytest.fail("its bound fits"))
    runner = Runner(request_of_words(tmp_path, attacks=("topk:steps=1",)), [])
    assert sizes_of(runner)["topk:steps=1"] == {64}
    assert runner.notes == []


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("512 mb", 512 * 10**6), ("1/2", 2**29), ("2", 2**31), ("3GiB", 3 * 2**30)]
)
def test_sizes_of_memory(text: str, size: int, tmp_path: Path) -> None:
    assert request_of_words(tmp_path, memory=text).memory == size


@pytest.mark.parametrize("text", ["", "much", "0", "-1GB", "4TB"])
def test_what_is_no_size_of_memory_is_one_line(text: str, capsys: Capture) -> None:
    code, out, err = run([f"--memory={text}"], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "write 4GB, 512MB or 4, which is GiB" in err


def test_memory_that_is_plenty_changes_no_number(tmp_path: Path) -> None:
    assert request_of_words(tmp_path, memory="4GB").chunks is None
    assert request_of_words(tmp_path, memory="100MB").chunks == 50 * 10**6


def test_a_table_of_costs_fits_the_terminal_and_begins_with_the_most_costly() -> None:
    cells = {
        ("a network with a very long name", "explainer:with=settings,of=all,kinds=1", f"attack {number}"): CellCost(
            "a network with a very long name",
            "explainer:with=settings,of=all,kinds=1",
            f"attack {number} with a name that goes on and on",
            images=10_000,
            each=123_456_789,
            passes=1_234_567_890_000,
            seconds=1e6 * number,
            memory=14 * 10**9,
        )
        for number in range(9)
    }
    estimate = Estimate(cells=cells, computing=36e6)
    lines = cost_lines(estimate, 2)
    assert max(map(len, lines)) <= 100
    assert len(lines) == 1 + 9 + 1
    assert [line.split("attack ")[1][0] for line in lines[1:-1]] == list("876543210")
    assert lines[-1].startswith("total")
    assert "5000 h" in lines[-1]
    few = cost_lines(estimate, 2, most=5)
    assert len(few) == 1 + 5 + 1 + 1
    assert few[-2].startswith("4 more")
    assert [count(number) for number in (950, 12_300, 3.44e6, 1.2e10)] == ["950", "12 k", "3.4 M", "12.0 G"]


def test_a_dry_run_shows_all_cells_and_says_what_to_change_of_a_costly_explainer(
    tmp_path: Path, capsys: Capture
) -> None:
    words = [*WORDS, "--dataset", "digits:size=80", "--retrain", "--epochs", "1", "--model", "lenet:width=2,hidden=4"]
    words += ["--explainers", "saliency,occlusion", "--attacks", "noise:draws=1", "--metrics", "cosine,gini"]
    code, out, err = run([*words, "--dry-run", "--out", str(tmp_path)], capsys)
    assert code == 0, err
    first, _, rest = out.partition("\n")
    assert first.startswith("quick: 1 network, 2 explainers, 1 attack, 6 images of digits:size=80")
    table = rest.split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= 100
    cells = [line.split()[1:3] for line in table if line.startswith("natural ")]
    assert cells[0][0] == "occlusion"
    assert ["saliency", "noise:draws=1"] in cells
    # Windows that start at every second pixel, the last of them cut off; and the image itself.
    assert "warning: occlusion takes 1,522 passes a map at 80×80; with window=8,stride=4 it takes 362" in table
    assert "not tried out" not in out


def test_a_long_run_says_what_it_costs_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = [*WORDS, "--explainers", "saliency", "--attacks", "noise:draws=1", "--metrics", "cosine"]
    assert "passes each" not in run([*words, "--out", str(tmp_path / "short")], capsys)[2]
    monkeypatch.setattr("attrobust.benchmark.run.runner.WORTH_ESTIMATING", 0.0)
    code, _, err = run([*words, "--out", str(tmp_path / "long")], capsys)
    assert code == 0
    lines = err.splitlines()
    start = next(number for number, line in enumerate(lines) if "passes each" in line)
    assert lines[start + 1].startswith("natural")
    assert any(line.startswith("total") for line in lines[start : start + 8])
    assert not any(" s" in line and " / " in line for line in lines[:start]), "no cell is done before"


def test_clean_memory_of_a_control_group_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"memory.limit_in_bytes": ["3000"], "memory.usage_in_bytes": ["2000"], "memory.stat": ["inactive_file 500"]}
    monkeypatch.setattr(machine, "_lines", lambda path: said.get(path.name, []))
    assert machine.memory() == 1500
