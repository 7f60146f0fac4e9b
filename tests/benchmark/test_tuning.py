"""Settings of explainers: of values in braces the best by a metric of maps, on validation images, for all networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
from msgspec import structs

from attrobust.benchmark.executors.base import Executor
from attrobust.benchmark.run.driver import Driver
from attrobust.benchmark.run.tuning import Tuned, Tuner
from attrobust.benchmark.store.explainer_choice import (
    ExplainerCandidate,
    ExplainerChoice,
    ExplainerTrial,
    explainer_candidate,
)
from attrobust.benchmark.store.rows import MetricFacts

from helpers.records import GINI, failed, scored
from helpers.runs import COARSE, FAST, run, write_plan, written_plan, written_rows

Capture = pytest.CaptureFixture[str]
SWEEP = "smoothgrad:samples=2,stdev={0.4,0.05}"
LABELS = ["smoothgrad:samples=2,stdev=0.4", "smoothgrad:samples=2,stdev=0.05"]
SHORT = [*FAST, *COARSE, "--epochs", "2", "--attacks", "noise:draws=1", "--metrics", "cosine,insertion:steps=8"]
WORDS = [*SHORT, "--methods", "natural,softplus:beta=3", "--explainers", f"saliency,{SWEEP}", "--choose", "insertion"]
BETTER = structs.replace(GINI, scope="map")
WORSE = structs.replace(BETTER, higher_is_better=False)


def made(label: str, score: float | None) -> ExplainerCandidate:
    return ExplainerCandidate(label=label, trials=(), score=score, problem="" if score is not None else "failed")


def choice(*candidates: ExplainerCandidate, metric: MetricFacts = BETTER) -> ExplainerChoice:
    return ExplainerChoice(sweep="e:a={1,2}", metric=metric, images=6, candidates=candidates)


def test_the_best_by_the_metrics_direction_is_chosen_and_equals_go_to_the_first_typed() -> None:
    pair = made("a", 0.3), made("b", 0.4)
    assert choice(*pair).shown == "b"
    assert choice(*pair, metric=WORSE).shown == "a"
    assert choice(made("a", 0.4), made("b", 0.4)).shown == "a"
    assert choice(made("a", None), made("b", 0.1)).settled().chosen == "b"


def test_where_none_can_be_chosen_the_first_is_shown() -> None:
    none = choice(made("a", None), made("b", None)).settled()
    assert (none.best, none.chosen, none.shown) == (None, None, "a")


def test_every_network_counts_once_whatever_its_seeds() -> None:
    places = [("natural", 0, "s0"), ("natural", 1, "s1"), ("mine", None, "s2")]
    trials = [ExplainerTrial(network=name, seed=seed, sha256="w", score=key) for name, seed, key in places]
    rows = {key: scored("a", mean=mean, n=6, n_defined=6) for key, mean in (("s0", 0.2), ("s1", 0.4), ("s2", 0.9))}
    assert explainer_candidate("e", trials, rows).score == pytest.approx((0.3 + 0.9) / 2)
    undefined = rows | {"s2": scored("a", mean=0.9, n=6, n_defined=2)}
    found = explainer_candidate("e", trials, undefined)
    assert (found.score, found.problem) == (None, "undefined on 4 of 6 images with mine")
    broken = explainer_candidate("e", trials, rows | {"s1": failed("s1", error="it broke")})
    assert (broken.score, broken.problem) == (None, "it broke with natural")
    lost = [structs.replace(trial, sha256="") if trial.network == "mine" else trial for trial in trials]
    assert explainer_candidate("e", lost, rows | {"s2": failed("s2")}).score == pytest.approx(0.3)
    nothing = explainer_candidate("e", [structs.replace(trial, sha256="") for trial in trials], rows)
    assert (nothing.score, nothing.problem) == (None, "no network could be trained")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that chose, for a test split that raises when choosing touches it."""
    from attrobust.benchmark.command.main import main

    class Untouchable:
        def __getattribute__(self, name: str) -> NoReturn:
            raise AssertionError(f"choosing asked the test split for {name}")

        def __len__(self) -> NoReturn:
            raise AssertionError("choosing asked for the size of the test split")

    def choosing(self: Tuner, driver: Driver, executor: Executor) -> Tuned:
        splits: dict[str, Any] = self.planner._data.splits  # type: ignore[assignment]
        kept, splits["test"] = splits["test"], Untouchable()
        found = tune(self, driver, executor)
        splits["test"] = kept
        asked.append(found)
        return found

    tune, asked = Tuner.run, []
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tuner, "run", choosing)
        assert main([*WORDS, "--out", str(folder)]) == 0
    assert len(asked) == 1
    return folder


def told_of(folder: Path) -> dict[str, Any]:
    (told,) = written_plan(folder)["explainer_choices"]
    return told  # type: ignore[no-any-return]


def test_only_the_chosen_setting_meets_the_test_split_and_is_a_column(finished: Path) -> None:
    plan, told = written_plan(finished), told_of(finished)
    assert plan["explainers"] == ["saliency", told["chosen"]]
    stdev = float(told["chosen"].partition("stdev=")[2])
    rows = [row for row in written_rows(finished).values() if row["cell"]["explainer"].get("name") == "smoothgrad"]
    measured = {(row["split"], row["cell"]["explainer"]["settings"]["stdev"]) for row in rows}
    assert measured == {("val", 0.4), ("val", 0.05), ("test", stdev)}
    assert {row["metric"]["name"] for row in rows if row["split"] == "val"} == {"insertion"}
    assert not any(row["cell"]["attack"] for row in rows if row["split"] == "val")


def test_the_best_mean_over_all_networks_is_chosen(finished: Path) -> None:
    told, rows = told_of(finished), written_rows(finished)
    assert [item["label"] for item in told["candidates"]] == LABELS
    for item in told["candidates"]:
        assert [trial["network"] for trial in item["trials"]] == ["natural", "softplus:beta=3"]
        means = [rows[trial["score"]]["mean"] for trial in item["trials"]]
        assert len(set(means)) == 2
        assert item["score"] == pytest.approx(sum(means) / 2, abs=1e-15)
    scores = {item["label"]: item["score"] for item in told["candidates"]}
    assert len(set(scores.values())) == 2
    assert told["chosen"] == max(scores, key=lambda label: scores[label])


def test_a_metric_that_is_better_where_it_is_lower_chooses_the_lowest(finished: Path, tmp_path: Path) -> None:
    from attrobust.benchmark.command.main import main

    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    words = [word if word != "insertion" else "entropy" for word in WORDS]
    assert main([*words, "--out", str(copied)]) == 0
    scores = {item["label"]: item["score"] for item in told_of(copied)["candidates"]}
    assert told_of(copied)["chosen"] == min(scores, key=lambda label: scores[label])


def test_the_same_command_again_computes_nothing(finished: Path, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "log.txt"}
    code, _, err = run([*WORDS, "--out", finished], capsys)
    assert code == 0
    assert " s\n" not in err
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "log.txt"}
    assert before == after


def test_what_is_lost_of_it_is_measured_again(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    copied, told = tmp_path / "copy", told_of(finished)
    shutil.copytree(finished, copied)
    gone = told["candidates"][1]["trials"][0]["score"]
    lines = (copied / "rows.jsonl").read_text().splitlines(keepends=True)
    (copied / "rows.jsonl").write_text("".join(line for line in lines if json.loads(line)["fingerprint"] != gone))
    code, out, _ = run([*WORDS, "--out", copied, "--dry-run"], capsys)
    assert code == 0
    assert f"{SWEEP}: to be chosen first; cells and costs are those of its first setting" in out
    assert "3/4 cells done" in out
    code, _, err = run([*WORDS, "--out", copied], capsys)
    assert code == 0
    assert next(line for line in err.splitlines() if line.endswith(" s")).startswith(
        "natural / smoothgrad:samples=2,stdev=0.05 on validation images"
    )
    assert told_of(copied) == told
    assert run(["verify", copied], capsys)[0] == 0


def test_every_table_says_what_was_chosen(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    told = told_of(finished)
    code, out, _ = run(["report", finished, "--out", tmp_path], capsys)
    assert code == 0
    note = (
        f"{told['chosen']} was chosen for all rows from the 2 of {SWEEP} on the validation split: best "
        "insertion:steps=8, mean over 2 networks, on its first 6 images"
    )
    assert note in " ".join(out.split())
    assert f"- {note}" in (tmp_path / "leaderboard.md").read_text()
    assert "on the validation split" in (tmp_path / "leaderboard.tex").read_text()
    assert json.loads(run(["report", finished, "--out", tmp_path, "--json"], capsys)[1])["explainer_choices"] == [told]
    _, out, _ = run(["report", finished, "--explainers", "saliency", "--out", tmp_path / "view"], capsys)
    assert "was chosen" not in out


def test_settings_are_shown_with_their_means_while_they_are_compared(finished: Path, capsys: Capture) -> None:
    _, _, err = run([*WORDS, "--out", finished], capsys)
    for item in told_of(finished)["candidates"]:
        (line,) = (line for line in err.splitlines() if line.startswith(f"  {item['label']} "))
        assert line.split()[1] == f"{item['score']:.3f}"
        assert line.endswith("chosen") == (item["label"] == told_of(finished)["chosen"])


def test_a_dry_run_says_what_is_chosen(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    code, out, _ = run([*WORDS, "--out", finished, "--dry-run"], capsys)
    assert code == 0
    assert "2 networks, 2 explainers" in out
    basis = "(best insertion:steps=8 on the first 6 validation images, {} cells done)"
    assert f"{SWEEP}: {told_of(finished)['chosen']} is chosen {basis.format('4/4')}" in out
    assert [line.split()[3] for line in out.splitlines() if line.startswith(("natural", "softplus"))] == ["5/5"] * 2
    code, out, _ = run([*WORDS, "--out", tmp_path / "none", "--dry-run"], capsys)
    assert code == 0
    assert f"to be chosen first; cells and costs are those of its first setting {basis.format('0/4')}" in out


def test_shards_choose_alike_and_make_the_same_table(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for number, folder in enumerate(folders, start=1):
        shutil.copytree(finished / "checkpoints", folder / "checkpoints")
        assert run([*WORDS, "--shard", f"{number}/2", "--out", folder], capsys)[0] == 0
        assert run(["verify", folder], capsys)[0] == 0
    for place, folders_of in (("whole", [finished]), ("parts", folders)):
        assert run(["report", *folders_of, "--out", tmp_path / place], capsys)[0] == 0
    assert (tmp_path / "parts/leaderboard.md").read_bytes() == (tmp_path / "whole/leaderboard.md").read_bytes()
    other = written_plan(folders[1])
    other["explainer_choices"][0]["candidates"][0]["score"] += 1e-6
    write_plan(folders[1], other)
    code, _, err = run(["report", *folders, "--out", tmp_path / "no"], capsys)
    assert code == 2
    assert f"do not have the same choice from {SWEEP}" in err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda told, _: told["candidates"][0].update(score=0.99), "is not what its rows say"),
        (lambda told, _: told.update(chosen="smoothgrad"), "is not what its rows say"),
        (lambda told, _: told["candidates"].pop(), "does not list every member"),
        (lambda told, _: told["candidates"].reverse(), "does not list every member"),
        (lambda told, _: told["candidates"][0]["trials"][0].update(sha256="0" * 64), "names other networks than"),
        (lambda told, _: told["candidates"][0]["trials"].pop(), "names other networks than the table"),
        (lambda told, _: told["metric"].update(label="insertion:steps=9"), "rests on rows of something else"),
        (lambda told, _: told.update(images=7), "rests on rows of something else"),
        (lambda _, plan: plan.update(explainers=["saliency", "ig"]), "and the columns of the table differ"),
        (lambda told, _: told.update(more=1), "(explainer_choices.0.more is not known); choose another --out"),
    ],
)
def test_verify_finds_a_choice_that_its_rows_do_not_lead_to(
    spoil: Any, message: str, finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    plan = written_plan(copied)
    spoil(plan["explainer_choices"][0], plan)
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
    assert f"rests on rows of something else than {LABELS[0]} on validation images" in out


BLANK = """
from dataclasses import dataclass

import torch

from attrobust import Explainer, register_explainer


@register_explainer("blank")
@dataclass(frozen=True, kw_only=True)
class Blank(Explainer):
    size: float = 1.0

    def attribute(self, model, x, target, *, create_graph, generator):
        # The maps of what is tried before a run are not those of digits.
        x = x if create_graph else x.detach().requires_grad_()
        total = model(x).gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=create_graph)
        return gradient * (1.0 if self.size < 2 or len(x) < 4 else 0.0)
"""


def test_settings_without_scores_are_out_and_where_all_are_the_first_is_shown(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.py").write_text(BLANK)
    words = ["--plugin", tmp_path / "mine.py", *FAST, *COARSE, "--epochs", "1", "--methods", "natural"]
    words += ["--attacks", "noise:draws=1", "--metrics", "cosine", "--choose", "gini"]
    code, out, err = run([*words, "--explainers", "blank:size={3,1}", "--out", tmp_path / "one"], capsys)
    assert code == 0, err
    assert "blank:size=1 was chosen for all rows from the 2 of blank:size={3,1}" in " ".join(out.split())
    code, out, err = run([*words, "--explainers", "blank:size={3,2}", "--out", tmp_path / "none"], capsys)
    assert code == 1
    assert "failed: blank:size={3,2}: nothing to choose from, blank:size=3 is shown" in err
    wanted = "nothing to choose from (blank:size=3 undefined on 6 of 6 images with natural, blank:size=2 undefined"
    assert wanted in " ".join(out.split())
    assert written_plan(tmp_path / "none")["explainers"] == ["blank:size=3"]
    assert run(["verify", tmp_path / "none"], capsys)[0] == 0


@pytest.mark.parametrize(
    ("explainers", "choose", "message"),
    [
        (SWEEP, "curvature", "methods are chosen by what an attack does to maps, explainers by maps of clean images"),
        (SWEEP, "roar", "roar is neither"),
        (
            SWEEP,
            "cosine",
            "'aga:cosd={0.1,1,10}'; explainers are chosen by a metric of clean images, such as insertion",
        ),
        (SWEEP, "insertion@topk", "insertion is of clean images, for every explainer in braces; write insertion"),
        (SWEEP, "insertoin", "Did you mean 'insertion'?"),
        (SWEEP, "insertion:step=3", "insertion has no setting 'step'"),
        (SWEEP, "insertion:steps=9999", "steps=9999 are more than the 256 pixels"),
        ("saliency", "insertion", "chooses settings of explainers; give values in braces, such as --explainers"),
        ("smoothgrad:stdev={0.1}", "insertion", "smoothgrad:stdev={0.1} has one setting; list several"),
        ("smoothgrad:stdev={0.1,0.10}", "insertion", "is the same as smoothgrad:stdev=0.1; name it once"),
        ("smoothgrad:noise={0.1,0.2}", "insertion", "smoothgrad has no setting 'noise'"),
        ("smoothgrad:stdev={0.1,x}", "insertion", "smoothgrad: stdev:"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(
    explainers: str, choose: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    words = ["--methods", "natural", *FAST, *COARSE, "--explainers", explainers, "--choose", choose]
    code, out, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_floor_of_accuracy_is_for_methods(tmp_path: Path, capsys: Capture) -> None:
    code, _, err = run([*WORDS, "--accuracy-floor", "0.9", "--out", tmp_path], capsys)
    assert code == 2
    assert "--accuracy-floor is for choosing methods; insertion chooses settings of explainers" in err


def test_without_choosing_every_setting_is_a_column(tmp_path: Path, capsys: Capture) -> None:
    words = [*SHORT, "--methods", "natural", "--explainers", SWEEP, "--metrics", "gini", "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    assert written_plan(tmp_path)["explainers"] == LABELS
    assert written_plan(tmp_path)["explainer_choices"] is None
