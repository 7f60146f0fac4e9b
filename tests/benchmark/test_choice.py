"""Of a sweep the best on the validation split: chosen from its rows, above a floor, and never from the test split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from msgspec import structs

from attrobust.attacks.topk import TopK
from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.checkpoints.find import Checkpoint
from attrobust.benchmark.data.base import Loaded, image_facts, partners
from attrobust.benchmark.evaluation.evaluate import evaluate
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.benchmark.executors.base import Executor
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.request.criterion import make_criterion
from attrobust.benchmark.run.choosing import Selection
from attrobust.benchmark.run.driver import Driver
from attrobust.benchmark.run.runner import Runner
from attrobust.benchmark.store.choice import Candidate, Choice, Trial, candidate
from attrobust.benchmark.store.rows import MetricFacts, Row
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.methods.aga import AGA
from attrobust.metrics.base import Metric
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.topk import TopK as TopKOverlap
from attrobust.naming.component import Component
from attrobust.naming.validate import as_json, validated
from attrobust.threat import ThreatModel

from helpers.records import GINI, failed, scored
from helpers.runs import COARSE, FAST, run, write_plan, written_plan, written_rows

Capture = pytest.CaptureFixture[str]
SHORT = [*FAST, *COARSE, "--epochs", "2", "--metrics", "topk:k=10%,cosine"]
WORDS = ["--methods", "natural,aga:cosd={0.1,1}", "--choose", "topk", *SHORT]
BETTER = structs.replace(GINI, label="topk:k=10%", title="top-10% (%)", scale=100.0, decimals=1, scope="attack")
WORSE = structs.replace(BETTER, higher_is_better=False)


def made(label: str, accuracy: float | None, score: float | None, problem: str = "") -> Candidate:
    return Candidate(label=label, trials=(), accuracy=accuracy, score=score, problem=problem)


def choice(*candidates: Candidate, floor: float | None = None, metric: MetricFacts = BETTER) -> Choice:
    return Choice(
        sweep="m:a={1,2,3}",
        metric=metric,
        attack="topk",
        explainer="saliency",
        images=6,
        floor=floor,
        candidates=candidates,
    )


def chosen(*candidates: Candidate, floor: float | None = None, metric: MetricFacts = BETTER) -> str | None:
    best = choice(*candidates, floor=floor, metric=metric).best
    return best.label if best else None


def test_the_best_by_the_metrics_direction_is_chosen() -> None:
    pair = made("a", 0.95, 0.3), made("b", 0.95, 0.4)
    assert chosen(*pair) == "b"
    assert chosen(*pair, metric=WORSE) == "a"


def test_equals_go_to_the_first_typed() -> None:
    assert chosen(made("a", 0.94, 0.1), made("b", 0.95, 0.4), made("c", 0.96, 0.4)) == "b"


def test_a_member_below_the_floor_is_out_and_one_exactly_at_it_is_not() -> None:
    assert chosen(made("a", 0.899, 0.9), made("b", 0.9, 0.4), floor=0.9) == "b"
    assert chosen(made("a", np.mean([0.8, 1.0, 0.9]).item() - 1e-16, 0.9), floor=0.9) == "a"
    assert chosen(made("a", 0.899, 0.9), made("b", 0.89, 0.4), floor=0.9) is None


def test_the_default_floor_is_two_points_below_the_sweeps_most_accurate_member() -> None:
    assert choice(made("a", 0.97, 0.9), made("b", 0.99, 0.4)).least == pytest.approx(0.97)
    assert chosen(made("a", 0.97, 0.9), made("b", 0.99, 0.4)) == "a"
    assert chosen(made("a", 0.9699, 0.9), made("b", 0.99, 0.4)) == "b"


def test_a_member_that_failed_is_out() -> None:
    assert chosen(made("a", 0.97, None, "training failed"), made("b", 0.96, 0.4)) == "b"
    assert chosen(made("a", None, None, "training failed")) is None


def row(mean: float | None, defined: int = 6) -> Row:
    return scored("a", mean=mean, n=6, n_defined=defined)


def test_a_candidate_is_the_mean_over_seeds() -> None:
    trials = [Trial(seed=seed, sha256="", accuracy=f"a{seed}", score=f"s{seed}") for seed in (0, 1)]
    rows = {"a0": row(0.9), "a1": row(1.0), "s0": row(0.25), "s1": row(0.75)}
    found = candidate("m", trials, rows)
    assert (found.accuracy, found.score, found.problem) == (0.95, 0.5, "")
    assert candidate("m", trials, rows | {"s1": row(0.7, defined=3)}).problem == ""
    assert candidate("m", trials, rows | {"s1": row(0.7, defined=2)}).problem == "undefined on 4 of 6 images"
    spoilt = candidate("m", trials, rows | {"a1": failed("a1", error="the loss became nan")})
    assert (spoilt.accuracy, spoilt.problem) == (None, "the loss became nan")
    assert candidate("m", trials, {}).problem == "its row is missing"


def test_what_is_written_is_read_back() -> None:
    trial = Trial(seed=0, sha256="ab", accuracy="a", score="s")
    told = choice(structs.replace(made("a", 0.97, 0.9), trials=(trial,)), made("b", 0.9, 0.95)).settled()
    text = json.loads(json.dumps(as_json(told)))
    assert text["chosen"] == "a"
    assert validated(text, Choice) == told


def columns(*items: tuple[str, Any, str]) -> list[Component[Any]]:
    return [Component(name, item, label) for name, item, label in items]


def test_a_bare_name_is_the_column_of_that_name() -> None:
    metrics: list[Component[Metric]] = columns(("cosine", Cosine(), "cosine"), ("topk", TopKOverlap(), "topk:k=5"))
    attacks = columns(("noise", object(), "noise"), ("topk", TopK(steps=7), "topk:steps=7"))
    explainers: list[Component[Explainer]] = columns(("saliency", Saliency(), "saliency"))
    found = make_criterion("topk", None, metrics, attacks, explainers)
    assert (found.metric.label, found.attack.label, found.explainer.label) == ("topk:k=5", "topk:steps=7", "saliency")
    found = make_criterion("spearman@topk:steps=3@ig", "97.5%", metrics, attacks, explainers)
    assert (found.metric.label, found.attack.label, found.explainer.label) == ("spearman", "topk:steps=3", "ig")
    assert found.floor == 0.975


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that chose, for a test split that raises when choosing touches it."""
    from attrobust.benchmark.command.main import main

    class Untouchable:
        def __getattribute__(self, name: str) -> NoReturn:
            raise AssertionError(f"choosing asked the test split for {name}")

        def __len__(self) -> NoReturn:
            raise AssertionError("choosing asked for the size of the test split")

    def choosing(self: Runner, driver: Driver, executor: Executor) -> Selection:
        splits: dict[str, Any] = self.data.splits  # type: ignore[assignment]
        kept, splits["test"] = splits["test"], Untouchable()
        selection = choose(self, driver, executor)
        splits["test"] = kept
        asked.append(len(selection.choices))
        return selection

    choose = Runner._choose
    asked: list[int] = []
    folder = tmp_path_factory.mktemp("chosen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "_choose", choosing)
        assert main([*WORDS, "--out", str(folder)]) == 0
    assert asked == [1]
    return folder


def test_only_the_chosen_member_meets_the_test_split(finished: Path) -> None:
    (told,) = written_plan(finished)["choices"]
    labels = [subject["label"] for subject in written_plan(finished)["subjects"]]
    assert labels == ["natural", told["chosen"]]
    rows = written_rows(finished).values()
    candidates = {trial["sha256"]: item["label"] for item in told["candidates"] for trial in item["trials"]}
    measured = {(row["split"], candidates.get(row["cell"]["checkpoint_sha256"], "natural")) for row in rows}
    assert measured == {("val", "aga:cosd=0.1"), ("val", "aga:cosd=1"), ("test", "natural"), ("test", told["chosen"])}


def test_candidates_have_the_numbers_of_the_validation_split(finished: Path, coarse: Loaded) -> None:
    val = coarse.splits["val"]
    x, y = val.batch(range(6))
    images = Images(x=x, y=y, partners=val.batch(partners(val, 6))[0])
    rules = Rules(threat=ThreatModel(eps=16 / 255), reduction="abs-sum", label="predicted", seed=0, batch_size=64)
    (told,) = written_plan(finished)["choices"]
    scores = {}
    for item, cosd in zip(told["candidates"], (0.1, 1.0), strict=True):
        (trial,) = item["trials"]
        (path,) = (
            path
            for path in (finished / "checkpoints").glob("aga*.toml")
            if WeightCard.read(path).sha256 == trial["sha256"]
        )
        card = WeightCard.read(path)
        assert card.method["settings"]["cosd"] == cosd
        assert item["accuracy"] == pytest.approx(card.val_accuracy, abs=1e-12)
        checkpoint = Checkpoint(weights=path.with_suffix(".pt"), card=card)
        network = checkpoint.network(AGA(cosd=cosd, eps=16 / 255), LeNet(width=4, hidden=8), image_facts(coarse))
        found = evaluate(network, Saliency(), TopK(steps=2), [TopKOverlap()], images, rules)
        scores[item["label"]] = float(found.values[0].mean())
        assert item["score"] == pytest.approx(scores[item["label"]], abs=1e-12)
    assert len(set(scores.values())) == 2
    best = max(item["accuracy"] for item in told["candidates"])
    allowed = [item["label"] for item in told["candidates"] if item["accuracy"] >= best - 0.02]
    assert told["chosen"] == max(allowed, key=lambda label: scores[label])


def test_the_same_command_again_computes_nothing(finished: Path, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "log.txt"}
    code, _, err = run([*WORDS, "--out", finished], capsys)
    assert code == 0
    assert "training" not in err
    assert " s\n" not in err
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "log.txt"}
    assert before == after


def test_every_table_says_what_was_chosen(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    code, out, _ = run(["report", finished, "--out", tmp_path], capsys)
    assert code == 0
    (told,) = written_plan(finished)["choices"]
    least = 100 * (max(item["accuracy"] for item in told["candidates"]) - 0.02)
    note = (
        f"{told['chosen']} was chosen from the 2 of aga:cosd={{0.1,1}} on the validation split: best topk:k=10% under "
        f"topk:steps=2 for saliency on its first 6 images, with an accuracy of at least {least:.2f} % "
        "(2 points below the sweep's best)"
    )
    assert note in " ".join(out.split())
    assert f"- {note}" in (tmp_path / "leaderboard.md").read_text()
    assert "aga:cosd=\\{0.1,1\\} on the validation split" in (tmp_path / "leaderboard.tex").read_text()
    assert json.loads(run(["report", finished, "--out", tmp_path, "--json"], capsys)[1])["choices"] == [told]


def test_candidates_are_shown_with_their_numbers_while_they_are_compared(finished: Path, capsys: Capture) -> None:
    _, _, err = run([*WORDS, "--out", finished], capsys)
    (told,) = written_plan(finished)["choices"]
    for item in told["candidates"]:
        (line,) = (line for line in err.splitlines() if line.startswith(f"  {item['label']} "))
        assert line.split()[1:4] == [f"{100 * item['accuracy']:.2f}", "%", f"{100 * item['score']:.1f}"]
        assert line.endswith("chosen") == (item["label"] == told["chosen"])


def test_a_dry_run_shows_candidates(finished: Path, capsys: Capture) -> None:
    code, out, _ = run([*WORDS, "--out", finished, "--dry-run"], capsys)
    assert code == 0
    of = ["candidate", "of", "aga:cosd={0.1,1},", "on", "validation", "images"]
    assert [line.split() for line in out.partition("\n\n")[0].splitlines()[2:]] == [
        ["natural", "0", "trained", "3/3"],
        ["aga:cosd=0.1", "0", "trained", "2/2", *of],
        ["aga:cosd=1", "0", "trained", "2/2", *of],
    ]


def test_a_sweep_that_misses_the_floor_is_a_failed_row_that_names_the_accuracies(
    finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    (told,) = written_plan(copied)["choices"]
    code, out, err = run([*WORDS, "--accuracy-floor", "99.9%", "--out", copied], capsys)
    assert code == 1
    first, second = (f"{item['label']} {100 * item['accuracy']:.2f} %" for item in told["candidates"])
    reason = f"nothing to choose from with an accuracy of at least 99.90 %: {first}, {second}"
    assert f"failed: aga:cosd={{0.1,1}}: {reason}" in err.splitlines()
    verdict, *blocks = (line for line in out.splitlines() if line.startswith("aga:cosd={0.1,1} "))
    assert verdict.split() == ["aga:cosd={0.1,1}", "failed", "failed"]
    assert {word for line in blocks for word in line.split()[1:]} == {"failed"}
    code, out, _ = run(["verify", copied], capsys)
    assert code == 1
    assert f"failed: aga:cosd={{0.1,1}}: {reason}" in out
    assert "choice" not in out
    assert run([*WORDS, "--accuracy-floor", "0.01", "--out", copied], capsys)[0] == 0
    assert run(["verify", copied], capsys)[0] == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda told: told["candidates"][0].update(score=0.99), "is not what its rows say"),
        (lambda told: told.update(floor=0.999), "is not what its rows say"),
        (lambda told: told.update(chosen="aga:cosd=2"), "is not what its rows say"),
        (lambda told: told["candidates"].pop(), "does not list every member"),
        (lambda told: told["candidates"][0]["trials"][0].update(sha256="0" * 64), "names other weights than its rows"),
        (lambda told: told["candidates"][0]["trials"][0].update(score="0" * 64), "is not what its rows say"),
        (lambda told: told["metric"].update(label="topk:k=5"), "rests on rows of something else than topk:k=5"),
        (lambda told: told.update(more=1), "(choices.0.more is not known); choose another --out"),
        (lambda told: told.pop("sweep"), "(choices.0.sweep is missing); choose another --out"),
    ],
)
def test_verify_finds_a_choice_that_its_rows_do_not_lead_to(
    spoil: Any, message: str, finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    plan = written_plan(copied)
    spoil(plan["choices"][0])
    write_plan(copied, plan)
    code, out, err = run(["verify", copied], capsys)
    assert code in (1, 2)
    assert message in out + err
    assert "Traceback" not in out + err


def test_rows_of_the_test_split_are_no_ground_for_a_choice(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    text = (copied / "rows.jsonl").read_text()
    (copied / "rows.jsonl").write_text(text.replace('"split": "val"', '"split": "test"'))
    code, out, _ = run(["verify", copied], capsys)
    assert code == 1
    assert "rests on rows of something else than topk:k=10% on validation images" in out


def test_the_choice_is_made_on_the_mean_over_seeds_and_every_seed_is_a_row(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "softplus:beta={3,30}", "--choose", "cosine", "--seeds", "0,1"]
    words += [*FAST, *COARSE, "--epochs", "1"]
    code, _, err = run([*words, "--out", tmp_path], capsys)
    assert code == 0, err
    plan, rows = written_plan(tmp_path), written_rows(tmp_path)
    (told,) = plan["choices"]
    assert [(subject["label"], subject["seed"]) for subject in plan["subjects"]] == [
        (told["chosen"], 0),
        (told["chosen"], 1),
    ]
    for item in told["candidates"]:
        assert [trial["seed"] for trial in item["trials"]] == [0, 1]
        assert item["score"] == sum(rows[trial["score"]]["mean"] for trial in item["trials"]) / 2
        assert item["accuracy"] == sum(rows[trial["accuracy"]]["mean"] for trial in item["trials"]) / 2
    assert run(["verify", tmp_path], capsys)[0] == 0


FRAGILE = """
from dataclasses import dataclass

from torch.nn.functional import cross_entropy

from attrobust import Method, register_method


@register_method("fragile")
@dataclass(frozen=True, kw_only=True)
class Fragile(Method):
    scale: float = 1.0

    def loss(self, model, x, y, generator):
        # What is tried before a run are fewer images.
        return cross_entropy(model(x), y) * (self.scale if self.scale < 2 or len(x) < 8 else float("nan"))
"""


def test_a_member_that_cannot_be_trained_is_named_and_the_others_compete(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.py").write_text(FRAGILE)
    words = ["--plugin", tmp_path / "mine.py", *FAST, *COARSE, "--epochs", "1", "--choose", "topk"]
    code, out, err = run([*words, "--methods", "fragile:scale={2,1}", "--out", tmp_path / "one"], capsys)
    assert code == 1
    assert "failed: fragile:scale=2: training failed: TrainingError: the loss became nan in epoch 1" in err
    assert "fragile:scale=1 was chosen from the 2 of fragile:scale={2,1}" in out
    code, out, err = run([*words, "--methods", "natural,fragile:scale={2,3}", "--out", tmp_path / "none"], capsys)
    assert code == 1
    assert "failed: fragile:scale={2,3}: nothing to choose from" in err
    assert "failed" not in next(line for line in out.splitlines() if line.startswith("natural"))
