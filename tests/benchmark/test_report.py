"""Tables say what the rows say: means, intervals, ties, subsets, flags, in every format the same digits."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from attrobust.benchmark.report import csv, latex, text, words, write
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.notes import notes
from attrobust.benchmark.report.table import ALL, COMMON, Leaderboard, Metric
from attrobust.benchmark.report.words import interval_text
from attrobust.benchmark.statistics import Estimate, at_chance, estimate
from attrobust.benchmark.store.plan import Entry
from attrobust.benchmark.store.rows import ACCURACY, MetricFacts, Row, ScoredRow, Training
from attrobust.benchmark.store.store import Store
from attrobust.types import Named, UsageError

from helpers import records
from helpers.records import GINI

IMAGES = 40
METRICS = [
    replace(GINI, label="topk", title="top-10% (%)", name="topk", scale=100.0, decimals=1, unit=True, scope="attack"),
    replace(GINI, label="l2", title="l2 (l2-norm.)", name="l2", higher_is_better=False, scope="attack"),
]


def scores_of(method: str, attack: str, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Per-image scores of a made-up run: ``better`` always beats ``worse`` by little, ``twin`` equals ``better``."""
    if metric == "accuracy" and method.startswith("guesses"):
        # Of ten classes, one in ten is right.
        return (np.arange(IMAGES + 10) % 10 == 0).astype(float)
    if metric == "accuracy":
        hits = np.ones(IMAGES + 10)
        hits[:4] = method != "worse_%&"
        return hits
    rng = np.random.default_rng(len(attack) + len(metric))
    values = rng.uniform(0.3, 0.7, IMAGES)
    sign = 1 if metric.startswith("top") else -1
    values = values - sign * 0.05 * (method == "worse_%&") - sign * 0.2 * (attack == "topk")
    if method == "undefined":
        values[:] = np.nan
    if method == "patchy":
        values[: IMAGES // 4] = np.nan
    if method == "lucky":
        values[1:] = np.nan
        values[0] = 9.9 * sign
    if method.startswith("guesses"):
        values = values + sign * 0.2
    if method == "masked" and attack == "topk":
        values = values + sign * 0.9
    return values


def said_of(values: np.ndarray[Any, np.dtype[np.float64]], metric: MetricFacts) -> dict[str, Any]:
    """What the row of some scores says of them."""
    found = estimate(values, unit=metric.unit)
    mean, *ci = (None if np.isnan(value) else value for value in (found.mean, found.low, found.high))
    return {"mean": mean, "ci": tuple(ci), "n": found.n, "n_defined": found.defined, "n_feasible": found.n}


def write_run(
    folder: Path,
    methods: list[str],
    failed: tuple[str, str] | None = None,
    sha256: str = "ab" * 32,
    seed: int = 0,
    **changes: Any,
) -> Store:
    store = Store(folder)
    entries: list[Entry] = []
    rows: list[Row] = []
    places = [("", "", ACCURACY)] + [("saliency", attack, m) for attack in ("noise:draws=2", "topk") for m in METRICS]
    for subject, method in enumerate(methods):
        for explainer, attack, metric in places:
            key = f"{method}-{attack}-{metric.name}".replace("/", "")
            entries.append(Entry(subject=subject, explainer=explainer, attack=attack, metric=metric.label, row=key))
            if failed == (method, attack):
                rows.append(records.failed(key, metric=metric))
                continue
            values = scores_of(method, attack.partition(":")[0], metric.label)
            sha256_of_scores = store.save_scores(key, values, np.ones(len(values), dtype=bool))
            rows.append(records.scored(key, metric=metric, scores_sha256=sha256_of_scores, **said_of(values, metric)))
    store.append(rows)
    store.write_plan(
        records.plan(
            comparison=replace(records.COMPARISON, **{"images": IMAGES, **changes}),
            explainers=("saliency",),
            attacks=(records.attack("noise:draws=2", "noise"), records.attack("topk")),
            metrics=tuple(METRICS),
            subjects=tuple(records.subject(method, seed=seed, sha256=sha256) for method in methods),
            entries=tuple(entries),
        )
    )
    return store


@pytest.fixture
def board(tmp_path: Path) -> Leaderboard:
    return build([write_run(tmp_path, ["better", "twin", "worse_%&", "undefined", "masked"], ("twin", "topk"))])


def test_means_and_intervals_are_those_of_the_scores(board: Leaderboard) -> None:
    group = board.subset(ALL)[0]
    wanted = estimate(scores_of("better", "noise", "topk"))
    assert group.lines[0].numbers[0].estimate == wanted
    assert group.images == IMAGES


def test_the_best_and_what_is_not_distinguishable_from_it_are_marked(board: Leaderboard) -> None:
    noise, topk = board.subset(ALL)
    assert [[number.best for number in line.numbers] for line in noise.lines] == [
        *([[True, True]] * 2),
        [False, False],
        [False, False],
        [True, True],
    ]
    # The last is the best by far, and flagged: noise beats the attack.
    assert [line.numbers[0].best for line in topk.lines] == [True, False, False, False, False]


def test_a_single_row_is_not_called_best(tmp_path: Path) -> None:
    board = build([write_run(tmp_path, ["better"])])
    assert not any(number.best for group in board.groups for line in group.lines for number in line.numbers)


def test_rows_are_ranked_on_the_images_they_share_and_mostly_undefined_rows_are_not_ranked(tmp_path: Path) -> None:
    board = build([write_run(tmp_path, ["better", "patchy", "lucky", "worse_%&"])])
    for group in board.groups:
        assert [[number.best for number in line.numbers] for line in group.lines] == [
            [True, True],
            [True, True],
            [False, False],
            [False, False],
        ]


def test_runs_are_merged_once_and_twins_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", ["better", "twin"])
    assert len(build([first, first]).groups[0].lines) == 2
    other = write_run(tmp_path / "b", ["better"], sha256="cd" * 32)
    board = build([first, other])
    names = [words.name(line, board) for line in board.groups[0].lines]
    assert names[1] == "twin"
    assert [name.partition(" [")[0] for name in (names[0], names[2])] == ["better", "better"]
    assert len(set(names)) == 3


OTHER_ATTACKS = (Named(name="other", settings={}),)


@pytest.mark.parametrize(
    "change", [{"threat": "linf 8/255"}, {"code": "other"}, {"attacks": OTHER_ATTACKS}, {"images": 5}]
)
def test_runs_that_do_not_compare_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    stores = [write_run(tmp_path / "a", ["better"]), write_run(tmp_path / "b", ["twin"], **change)]
    with pytest.raises(UsageError, match=f"does not compare with .*{next(iter(change))}"):
        build(stores)


def test_seeds_of_different_trainings_have_no_common_mean(tmp_path: Path) -> None:
    seeds = [write_run(tmp_path / str(seed), ["better"], seed=seed, sha256=f"{seed:064}") for seed in range(4)]
    (together,) = build(seeds).groups[0].means
    assert together.seeds == 4
    for seed, store in enumerate(seeds):
        plan = store.plan()
        trained = replace(plan.subjects[0], training="of two epochs" if seed > 1 else "of twenty epochs")
        store.write_plan(replace(plan, subjects=(trained,)))
    board = build(seeds)
    assert [mean.seeds for mean in board.groups[0].means] == [2, 2]
    lines = [words.name(line, board) for line in board.groups[0].lines]
    means = [words.mean_name(mean, board) for mean in board.groups[0].means]
    assert len({name.partition(" (seed")[0] for name in lines}) == 2
    assert [name.partition(",")[0] for name in means] == [lines[i].partition(" (seed")[0] for i in (0, 2)]
    table = pd.read_csv(io.StringIO(csv.render(board)))
    assert table[table["seeds"].notna()]["method"].nunique() == 2
    (first,) = build(seeds[:3]).groups[0].means
    assert first.seeds == 2, "the third was trained otherwise"


def test_columns_of_one_title_are_told_apart_by_what_was_typed() -> None:
    metrics = [
        Metric(
            label=f"mine:p={p}", title="Mine", higher_is_better=True, scale=1, decimals=1, unit=False, scope="attack"
        )
        for p in (1, 2)
    ]
    assert [words.header(metric, metrics) for metric in metrics] == ["mine:p=1", "mine:p=2"]
    assert words.header(metrics[0], metrics[:1]) == "Mine"


def test_noise_is_never_flagged_for_being_noise(tmp_path: Path) -> None:
    board = build([write_run(tmp_path, ["better"])])
    assert not any(number.flags for line in board.subset(ALL)[0].lines for number in line.numbers)


def test_attacks_that_broke_the_rules_are_counted_in_the_notes(tmp_path: Path) -> None:
    store = write_run(tmp_path, ["better"])
    for metric in METRICS:
        key = f"better-topk-{metric.name}"
        values = scores_of("better", "topk", metric.label)
        row = store.rows()[key]
        assert isinstance(row, ScoredRow)
        store.append([replace(row, scores_sha256=store.save_scores(key, values, np.arange(IMAGES) >= 3))])
    board = build([store])
    assert notes(board) == [f"better, saliency, topk: 3 of {IMAGES} attacks were not feasible and count as no attack"]
    for table in (text.terminal(board), text.markdown(board), latex.render(board)):
        assert "3 of 40 attacks were not feasible" in table


def test_the_common_subset_is_what_every_network_classifies_correctly(board: Leaderboard) -> None:
    group = board.subset(COMMON)[0]
    assert group.images == IMAGES - 4
    found = group.lines[0].numbers[0].estimate
    assert found == estimate(scores_of("better", "noise", "topk")[4:])


def test_noise_that_beats_an_attack_is_flagged_in_every_format(board: Leaderboard) -> None:
    assert [note.split(":")[0] for note in notes(board)] == [
        "masked, saliency, topk, top-10% (%)",
        "masked, saliency, topk, l2 (l2-norm.)",
    ]
    assert "noise-beats-attack" in csv.render(board)
    assert "noise-beats-attack" in text.markdown(board)
    assert "noise-beats-attack" in text.terminal(board)
    assert "\\textsuperscript{!}" in latex.render(board)


def test_csv_loads_in_pandas_with_numeric_columns(board: Leaderboard) -> None:
    table = pd.read_csv(io.StringIO(csv.render(board)))
    for column in ("images", "undefined", "feasible", "mean", "ci_low", "ci_high", "seed"):
        assert pd.api.types.is_numeric_dtype(table[column]), column
    assert pd.api.types.is_bool_dtype(table["best"])
    assert len(table) == 5 + 5 * 2 + 2 * 5 * 2 * 2, "accuracies, worst cases, two attacks over two subsets"
    assert (table["status"] == "failed").sum() == 2 + 2 * 2
    undefined = table[(table["method"] == "undefined") & (table["metric"] != "accuracy (%)")]
    assert undefined["mean"].isna().all()
    assert (undefined["undefined"] == undefined["images"]).all()
    assert set(table["method"]) == {"better", "twin", "worse_%&", "undefined", "masked"}


def test_csv_and_markdown_carry_the_same_digits(board: Leaderboard) -> None:
    table = pd.read_csv(io.StringIO(csv.render(board)), dtype=str)
    markdown = text.markdown(board)
    defined = table.dropna(subset=["mean"])
    assert len(defined) > 20
    for _, line in defined.iterrows():
        assert f"{line['mean']} [{line['ci_low']}, {line['ci_high']}]" in markdown.replace("**", "")
    numbers = re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", markdown.replace("**", ""))
    # The verdict repeats accuracies and worst cases in the first metric.
    assert len(numbers) == len(defined) + 5 + 3


def test_latex_has_bold_outside_math_arrows_and_escaped_names(board: Leaderboard) -> None:
    source = latex.render(board)
    assert "worse\\_\\%\\&" in source
    assert re.search(r"\\textbf\{\d+\.\d\} \{\\scriptsize \[", source)
    assert not any(re.search(r"\d", math) for math in source.split("$")[1::2]), "digits in math do not become bold"
    assert "$\\uparrow$" in source
    assert "$\\downarrow$" in source
    rows = [line for line in source.splitlines() if line.startswith("better & ")]
    # The verdict; accuracies; two metrics of the worst case and of each attack, then over the common images.
    assert [line.count(" & ") for line in rows] == [4, 1, 2, 2, 2, 2, 2]


def test_text_that_latex_and_markdown_would_interpret_is_escaped() -> None:
    assert latex.escape("a_b%c&d#e{f}~^\\<") == (
        "a\\_b\\%c\\&d\\#e\\{f\\}\\textasciitilde{}\\textasciicircum{}\\textbackslash{}\\textless{}"
    )


def test_a_number_that_rounds_to_nothing_has_no_sign(board: Leaderboard) -> None:
    assert board.groups[0].metrics[1].text(-0.0001) == "0.000"
    assert board.groups[0].metrics[1].text(-0.0006) == "-0.001"


@pytest.fixture
def chance(tmp_path: Path) -> Leaderboard:
    return build([write_run(tmp_path, ["better", "guesses", "worse_%&"])])


def test_a_network_at_chance_leads_nothing_and_every_number_of_it_is_flagged(chance: Leaderboard) -> None:
    for group in chance.groups:
        better, guesses, worse = group.lines
        assert [number.rank for number in guesses.numbers] == [None, None]
        assert all(number.estimate and number.estimate.n for number in guesses.numbers)
        for number in (*guesses.accuracies, *guesses.numbers):
            assert [flag.name for flag in number.flags][:1] == ["at-chance"]
        assert all(number.best for number in better.numbers)
        assert not any(number.best for number in worse.numbers)
        assert not any(number.flags for line in (better, worse) for number in (*line.accuracies, *line.numbers))


def test_a_network_at_chance_is_told_in_every_format(chance: Leaderboard) -> None:
    said = "guesses: at-chance: accuracy 10.0 % cannot be told from guessing (10.0 %) on 50 images"
    assert notes(chance) == [said]
    for table in (text.terminal(chance), text.markdown(chance)):
        assert said in table
    assert said.replace("%", "\\%") in latex.render(chance)
    table = pd.read_csv(io.StringIO(csv.render(chance)))
    assert set(table[table["method"] == "guesses"]["flags"]) == {"at-chance"}
    assert table[table["method"] != "guesses"]["flags"].isna().all()
    shown = {row["method"]: row for row in json.loads(write.as_json(chance))["rows"] if row["attack"] == "topk"}
    assert shown["guesses"]["flags"] == ["at-chance"]
    assert not shown["guesses"]["best"]
    marked = [line for line in text.terminal(chance).splitlines() if line.startswith("guesses ")]
    # In the verdict accuracy and the worst case, then accuracy, the worst case and two attacks in two metrics.
    assert [line.count(" !") for line in marked] == [2, 1, 2, 2, 2]
    assert not any("*" in line for line in marked)
    rows = [line for line in text.markdown(chance).splitlines() if line.startswith("| guesses ")]
    assert all(line.count(" !") >= line.count(" | ") - 1 for line in rows[1:]), "the quantiles among them"
    assert sum(" / " in line for line in rows) == 3
    # The verdict has the marks of text.
    assert latex.render(chance).count("\\textsuperscript{!}") == 1 + 5 * 2


def test_a_network_at_chance_does_not_empty_the_images_that_all_classify_correctly(chance: Leaderboard) -> None:
    assert [group.images for group in chance.subset(COMMON)] == [IMAGES - 4] * 2
    said = f"The {IMAGES - 4} images that every evaluated network classifies correctly, those at chance left out (1)"
    assert said in text.markdown(chance)
    assert said in latex.render(chance)
    assert f"the {IMAGES - 4} images that every evaluated network gets right, those at chance left out (1)." in (
        " ".join(text.terminal(chance).split())
    )


def test_baselines_at_chance_are_not_flagged(tmp_path: Path) -> None:
    store = write_run(tmp_path, ["better", "guesses"])
    plan = store.plan()
    subjects = (plan.subjects[0], replace(plan.subjects[1], baseline=True))
    store.write_plan(replace(plan, subjects=subjects))
    board = build([store])
    assert board.at_chance == 0
    assert notes(board) == []


def test_a_mean_over_seeds_of_which_one_is_at_chance_is_flagged_and_not_ranked(tmp_path: Path) -> None:
    stores = [write_run(tmp_path / "a", ["better", "worse_%&"])]
    for seed, method in enumerate(["twin", "twin", "guesses"]):
        stores.append(write_run(tmp_path / str(seed), [method], seed=seed, sha256=f"{seed:064}"))
        plan = stores[-1].plan()
        stores[-1].write_plan(replace(plan, subjects=(replace(plan.subjects[0], label="unsteady"),)))
    board = build(stores)
    for group in board.groups:
        (mean,) = group.means
        assert (mean.label, mean.seeds, [flag.name for flag in mean.chance]) == ("unsteady", 3, ["at-chance"])
        assert [number.rank for number in mean.numbers] == [None, None]
        assert [[bool(number.flags) for number in line.numbers] for line in group.lines[2:]] == [
            [False, False],
            [False, False],
            [True, True],
        ]
    shown = [line for line in text.terminal(board).splitlines() if line.startswith("unsteady, mean of 3 seeds")]
    assert [line.count(" !") for line in shown] == [1, 2, 2, 2]
    table = pd.read_csv(io.StringIO(csv.render(board)))
    assert set(table[table["seeds"].notna()]["flags"]) == {"at-chance"}
    assert {tuple(row["flags"]) for row in json.loads(write.as_json(board))["over_seeds"]} == {("at-chance",)}
    assert any(note.startswith("unsteady (seed 2): at-chance: ") for note in notes(board))


@pytest.mark.parametrize(
    ("hits", "images", "guessing", "said"),
    [
        (14, 32, 1 / 4, ""),
        (5, 32, 1 / 4, "accuracy 15.6 % cannot be told from guessing (25.0 %) on 32 images"),
        (10, 32, 1 / 4, "accuracy 31.2 % cannot be told from guessing (25.0 %) on 32 images"),
        (30, 300, 1 / 10, "accuracy 10.0 % cannot be told from guessing (10.0 %) on 300 images"),
        (1400, 10_000, 1 / 10, "accuracy 14.0 % is hardly better than guessing (10.0 %)"),
        (2200, 10_000, 1 / 10, ""),
        (0, 300, 1 / 10, "accuracy 0.0 % is worse than guessing (10.0 %)"),
        (900, 1000, 0.9, "accuracy 90.0 % cannot be told from guessing (90.0 %) on 1000 images"),
        (1, 1, 1 / 10, ""),
    ],
)
def test_few_images_are_no_proof_of_guessing_and_many_are(hits: int, images: int, guessing: float, said: str) -> None:
    assert at_chance(hits, images, guessing) == said


RECIPE = {"epochs": 2, "batch_size": 64, "learning_rate": 0.003, "optimizer": "adam", "clip": 0.0}
TUNED = {**RECIPE, "tuning_epochs": 0.5, "tuning_rate": 0.1}


def trained(recipe: dict[str, object], start: Named | None = None) -> Training:
    return Training(seed=0, recipe=recipe, start=start or Named(), dataset={}, plugins=("", "", ""))


def told(folder: Path, **subjects: dict[str, Any]) -> list[str]:
    """Names of the rows of runs of one row each, whose subjects have these facts."""
    stores = []
    for position, (name, facts) in enumerate(subjects.items()):
        store = write_run(folder / name, ["better"], sha256=f"{position:064}")
        plan = store.plan()
        method = Named(name="natural", settings={"cosd": 1.0})
        told = {"label": "natural", "training": name, "method": method, **facts}
        store.write_plan(replace(plan, subjects=(replace(plan.subjects[0], **told),)))
        stores.append(store)
    board = build(stores)
    names = [words.name(line, board) for line in board.groups[0].lines]
    assert len(set(names)) == len(names)
    return names


def test_rows_of_one_name_are_told_apart_in_words(tmp_path: Path) -> None:
    short, long = trained(RECIPE), trained({**RECIPE, "epochs": 6})
    assert told(tmp_path / "a", a={"trained": short}, b={"trained": long}) == [
        "natural (2 epochs)",
        "natural (6 epochs)",
    ]
    other = trained({**RECIPE, "learning_rate": 0.01})
    assert told(tmp_path / "b", a={"trained": short}, b={"trained": other}) == [
        "natural (learning rate 0.003)",
        "natural (learning rate 0.01)",
    ]
    method = {"method": Named(name="natural", settings={"cosd": 0.5})}
    assert told(tmp_path / "c", a={"trained": short}, b={"trained": short, **method}) == [
        "natural (cosd=1.0)",
        "natural (cosd=0.5)",
    ]
    plugin = {"plugins": ("1a2b3c4d" * 8, "")}
    assert told(tmp_path / "d", a={"trained": short}, b={"trained": short, **plugin}) == [
        "natural (no plug-in)",
        "natural (plug-in file 1a2b3c4d)",
    ]
    mine = {"method": None, "training": "", "checkpoint": "mine.pt"}
    assert told(tmp_path / "e", a={"trained": short}, b=mine) == ["natural", "natural (checkpoint mine.pt)"]
    model = {"model": Named(name="resnet18", settings={}), "architecture": "resnet18"}
    assert told(tmp_path / "f", a={"trained": short}, b={"trained": short, **model}) == [
        "natural (lenet)",
        "natural (resnet18)",
    ]


def test_rows_of_other_names_say_their_epochs_too_where_these_differ(tmp_path: Path) -> None:
    rows = {"a": {"trained": trained(RECIPE)}, "b": {"trained": trained({**RECIPE, "epochs": 6}), "label": "aga"}}
    assert told(tmp_path / "a", **rows) == ["natural (2 epochs)", "aga (6 epochs)"]
    same = {"a": {"trained": trained(RECIPE)}, "b": {"trained": trained(RECIPE), "label": "aga"}}
    assert told(tmp_path / "b", **same) == ["natural", "aga"]
    tuned = {"trained": trained(TUNED, Named(name="natural", settings={})), "label": "aga"}
    assert told(tmp_path / "c", a={"trained": trained(RECIPE)}, b=tuned) == ["natural", "aga"], "by the same recipe"


def test_captions_and_columns_say_model_epochs_and_recipe(tmp_path: Path) -> None:
    store = write_run(tmp_path, ["better", "twin", "masked"])
    plan = store.plan()
    start = Named(name="natural", settings={})
    model = {"model": Named(name="resnet18", settings={}), "architecture": "resnet18"}
    changes: list[dict[str, Any]] = [{"trained": trained(RECIPE)}, {"trained": trained(TUNED, start)}]
    changes.append({"checkpoint": "/home/somebody/of-mine/weights.pt", **model})
    subjects = tuple(replace(one, **change) for one, change in zip(plan.subjects, changes, strict=True))
    store.write_plan(replace(plan, subjects=subjects))
    board = build([store])
    said = "Trained for 2 epochs (1 where it goes on from trained weights), adam, learning rate 0.003, batch size 64."
    said += " masked is a user's checkpoint of-mine/weights.pt."
    for table in (text.terminal(board), text.markdown(board), latex.render(board)):
        assert said in " ".join(table.split())
        assert "digits, models as the rows name them, 40 test images" in " ".join(table.split())
        assert "masked (resnet18)" in table
    table = (
        pd.read_csv(io.StringIO(csv.render(board))).groupby("method", sort=False)[["model", "epochs", "recipe"]].first()
    )
    assert [*table.index] == ["better", "twin", "masked"]
    assert [*table["model"]] == ["lenet", "lenet", "resnet18"]
    assert [*table["epochs"].fillna(0)] == [2, 1, 0]
    adam = "adam, learning rate {}, batch size 64"
    assert [*table["recipe"]] == [
        adam.format("0.003"),
        f"{adam.format('0.0003')}, from weights of natural",
        "checkpoint of-mine/weights.pt",
    ]
    alone = replace(plan, subjects=plan.subjects[:1], entries=tuple(item for item in plan.entries if not item.subject))
    store.write_plan(replace(alone, subjects=(replace(alone.subjects[0], **changes[2]),)))
    assert "digits, resnet18, 40 test images" in " ".join(text.terminal(build([store])).split()), "and nothing of lenet"
    shown = json.loads(write.as_json(board))["rows"]
    assert {(row["method"], row["model"], row["epochs"], row["start"], row["checkpoint"]) for row in shown} == {
        ("better", "lenet", 2, None, None),
        ("twin", "lenet", 1, "natural", None),
        ("masked", "resnet18", None, None, "of-mine/weights.pt"),
    }


@pytest.mark.parametrize(
    ("values", "decimals", "pm", "small"),
    [
        ((0.80, 0.76, 0.84), 1, "± 0.04", "[0.8, 0.8]"),
        ((0.80, 0.79, 0.84), 1, "± 0.04", "[0.8, 0.8]"),
        ((0.80, 0.7996, 0.8001), 1, "± 0.0004", "[0.8, 0.8]"),
        ((0.812, 0.61, 0.95), 1, "± 0.2", "[0.6, 0.9]"),
        ((0.5, 0.5, 0.5), 1, "± 0.0", "[0.5, 0.5]"),
        ((0.7, 0.7 - 1e-16, 0.7), 1, "± 0.0", "[0.7, 0.7]"),
        ((0.5, math.nan, math.nan), 1, "", ""),
    ],
)
def test_a_width_that_is_not_0_does_not_stand_as_0(
    values: tuple[float, float, float], decimals: int, pm: str, small: str
) -> None:
    mean, low, high = values
    metric = dataclasses.replace(Metric.of(GINI), decimals=decimals)
    given = Estimate(mean=mean, low=low, high=high, n=9, defined=9)
    assert interval_text(metric, given, "pm") == pm
    assert interval_text(metric, given, "none") == ""
    assert interval_text(metric, given, "small") == small
