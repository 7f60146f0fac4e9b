"""The verdict says who wins: worst cases image by image, ranks of accuracies, one block for any terminal."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

import attrobust
from attrobust.benchmark.report import csv, latex, text
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.table import ALL, Leaderboard, Metric
from attrobust.benchmark.report.verdict.closing import closing_lines
from attrobust.benchmark.report.verdict.sentence import sentence
from attrobust.benchmark.report.verdict.view import Column as Shown
from attrobust.benchmark.report.verdict.view import Row as Judged
from attrobust.benchmark.report.verdict.view import Value, Verdict, verdict_of
from attrobust.benchmark.report.worst import worse
from attrobust.benchmark.report.write import as_json, page
from attrobust.benchmark.statistics import Column, compare
from attrobust.benchmark.store.rows import ACCURACY, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError

from helpers import records
from helpers.runs import FAST, run, written_plan, written_rows
from helpers.tables import METRICS, write_table

Capture = pytest.CaptureFixture[str]
PUBLISHED = Path(__file__).parents[2] / "results" / "digits-v1"
LONG = "adversarial-training-of-explanations-v2a"


def twin_of(folder: Path) -> dict[tuple[str, str, str], float]:
    """By method, explainer and metric the mean of the worst scores: a loop over the files of a run."""
    plan, rows = written_plan(folder), written_rows(folder)
    higher = {metric["label"]: metric["higher_is_better"] for metric in plan["metrics"] if metric["scope"] == "attack"}
    images: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    for entry in plan["entries"]:
        if entry["attack"] and entry["metric"] in higher:
            data = Store(folder).scores.read(entry["row"])
            assert data is not None
            with np.load(io.BytesIO(data)) as arrays:
                scores = arrays["scores"].tolist()
            assert rows[entry["row"]]["status"] == "ok"
            key = plan["subjects"][entry["subject"]]["label"], entry["explainer"], entry["metric"]
            for image, score in enumerate(scores):
                known = images.setdefault(key, {}).setdefault(image, [])
                known += [score] if math.isfinite(score) else []
    found = {}
    for key, scores_of in images.items():
        choose = min if higher[key[2]] else max
        worst = [choose(scores) for scores in scores_of.values() if scores]
        found[key] = sum(worst) / len(worst) if worst else math.nan
    return found


def held_to_twin(folder: Path, board: Leaderboard) -> int:
    """Compare every worst case of a run with the twin; returns how many differ from the worst of the attacks' means."""
    twin, other = twin_of(folder), 0
    assert len(board.worst) == len({explainer for _, explainer, _ in twin})
    for group in board.worst:
        attacks = [item for item in board.subset(ALL, "attack") if item.explainer == group.explainer]
        for index, line in enumerate(group.lines):
            for place, (metric, number) in enumerate(zip(group.metrics, line.numbers, strict=True)):
                assert number.estimate is not None
                expected = twin.pop((line.label, group.explainer, metric.label))
                assert number.estimate.mean == pytest.approx(expected, rel=1e-12, nan_ok=True)
                means = [item.lines[index].numbers[place].estimate for item in attacks]
                known = [found.mean for found in means if found and not math.isnan(found.mean)]
                bound = (min if metric.higher_is_better else max)(known, default=math.nan)
                worse_or_equal = expected <= bound + 1e-12 if metric.higher_is_better else expected >= bound - 1e-12
                assert worse_or_equal or math.isnan(bound)
                other += abs(expected - bound) > 1e-6
    assert not twin, "every network, explainer and metric has a worst case"
    return other


@pytest.mark.parametrize("part", ["quick", "strong"])
def test_worst_cases_of_a_published_board_are_those_of_a_loop_over_its_files(part: str) -> None:
    board = build([Store(PUBLISHED / part)])
    assert held_to_twin(PUBLISHED / part, board) > 0, "it is not the worst of the means"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on real digits whose maps are partly constant, so that some scores are undefined."""
    from attrobust.benchmark.command.main import main

    folder = tmp_path_factory.mktemp("verdict") / "run"
    words = ["--methods", "natural,aga,pgd-at", *FAST[:-4], "--baselines", "constant-map,random-map"]
    words += ["--attacks", "noise:draws=2,topk:steps=2,target:steps=2", "--out", str(folder)]
    words[words.index("--metrics") + 1] += ",insertion"
    words[words.index("none")] = "apgd:steps=2"
    assert main(words) == 0
    return folder


def test_worst_cases_of_a_run_are_those_of_a_loop_over_its_files(finished: Path) -> None:
    board = build([Store(finished)])
    held_to_twin(finished, board)
    undefined = [
        n for g in board.worst for line in g.lines for n in line.numbers if n.estimate and not n.estimate.defined
    ]
    assert undefined, "a constant map has no ranking under any attack"


def test_results_and_scores_have_worst_cases_with_the_images_behind_them(finished: Path) -> None:
    frame, scores = attrobust.results(finished), attrobust.scores(finished)
    worst = frame[frame.scope == "worst"]
    assert set(worst.attack) == {"worst of 3 attacks"}
    assert set(worst.subset) == {"all"}
    place = ["method", "explainer", "attack", "metric"]
    means = scores[scores.scope == "worst"].astype(dict.fromkeys(place, "str")).groupby(place).score.mean()
    for line in worst[worst["mean"].notna()].itertuples():
        digits = 0.05 if line.metric.endswith("(%)") else 0.0005
        assert abs(means[line.method, line.explainer, line.attack, line.metric] - line.mean) <= digits + 1e-9
    flat = frame[frame.scope == "attack"].groupby("attack").size()
    assert len(flat) == 3, "attacks are those of the run"


@pytest.mark.parametrize(("higher", "choose"), [(True, min), (False, max)])
def test_an_undefined_score_counts_only_where_the_other_is_undefined_too(
    higher: bool, choose: Callable[..., float]
) -> None:
    nan, inf = math.nan, math.inf
    first = np.array([0.2, 0.9, nan, 0.5, nan, inf, -inf, inf])
    second = np.array([0.4, 0.1, 0.3, nan, nan, 0.6, 0.7, nan])
    found = worse(first, second, higher_is_better=higher)
    wanted = [choose(0.2, 0.4), choose(0.9, 0.1), 0.3, 0.5, nan, 0.6, 0.7, nan]
    np.testing.assert_array_equal(found, wanted)


def changed(store: Store, where: Callable[[Row], bool], change: Callable[[Row], Row]) -> Store:
    """The same run with some rows changed."""
    store.append([change(row) for row in store.rows().values() if where(row)])
    return store


@pytest.mark.parametrize(
    "other",
    [
        {"images": 4},
        {"data_sha256": "other"},
        {"label": "true"},
        {"threat": {"norm": "l2", "eps": 0.1, "keep_prediction": True}},
        {"threat": {"norm": "linf", "eps": 0.2, "keep_prediction": True}},
        {"threat": {"norm": "linf", "eps": 0.1, "keep_prediction": False}},
    ],
)
def test_attacks_by_other_rules_are_not_pooled(other: dict[str, Any], tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "bad"], explainers=("saliency",))
    usual = {"threat": {"norm": "linf", "eps": 0.1, "keep_prediction": True}}

    def ruled(row: Row, rules: dict[str, Any]) -> Row:
        return replace(row, cell=dataclasses.replace(row.cell, **{**usual, **rules}))

    changed(store, lambda row: "saliency" in row.fingerprint, lambda row: ruled(row, {}))
    assert build([store]).worst
    changed(store, lambda row: "saliency-topk" in row.fingerprint, lambda row: ruled(row, other))
    with pytest.raises(UsageError, match="on other images, in another ball or by another criterion"):
        build([store])


def test_a_method_of_which_one_attack_failed_has_no_worst_case(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "bad", "lost"], explainers=("saliency",))
    failed = [row for row in store.rows().values() if row.fingerprint.startswith("002saliency-topk")]
    store.append([records.failed(row.fingerprint, metric=row.metric) for row in failed])
    (group,) = build([store]).worst
    assert [[number.estimate is None for number in line.numbers] for line in group.lines] == [
        *([[False, False]] * 2),
        [True, True],
    ]
    assert group.lines[2].numbers[0].rank is None
    assert "lost" in text.terminal(build([store]))


def test_with_one_attack_the_worst_case_is_its_number_with_its_rank(tmp_path: Path) -> None:
    board = build([write_table(tmp_path, ["good", "bad"], explainers=("saliency",), attacks=("topk",))])
    assert board.worst == ()
    verdict, (group,) = verdict_of(board), board.subset(ALL, "attack")
    assert verdict.columns[0].words == ("top-10% (%) under topk", "saliency")
    assert [row.values[0].rank for row in verdict.rows] == [line.numbers[0].rank for line in group.lines]


def test_accuracies_are_ranked_as_a_family_of_their_own(finished: Path) -> None:
    board = build([Store(finished)])
    plan, store = written_plan(finished), Store(finished)
    rows = store.rows()
    columns = []
    for label in ("accuracy", "robust-accuracy"):
        entries = [entry for entry in plan["entries"] if entry["metric"] == label and entry["subject"] < 3]
        found = [rows[entry["row"]] for entry in entries]
        columns.append(
            Column(
                rows=[store.load_scores(row)[0] for row in found if isinstance(row, ScoredRow)], higher_is_better=True
            )
        )
    wanted = compare(columns)
    shown = [[number.rank for number in line.accuracies] for line in board.groups[0].lines[:3]]
    assert shown == [[*pair] for pair in zip(*wanted, strict=True)]
    table = pd.read_csv(io.StringIO(csv.render(board)))
    accuracy = table[table.metric == "accuracy (%)"].set_index("method")
    assert accuracy.loc["natural", "rank"] == wanted[0][0]
    assert accuracy[accuracy.baseline]["rank"].isna().all()


def test_accuracies_stand_in_a_table_of_their_own_and_in_no_block(finished: Path) -> None:
    board = build([Store(finished)])
    _, *sections = text.markdown(board).split("\n### ")
    with_accuracy = [section.partition("\n")[0] for section in sections if "| accuracy (%)" in section]
    assert with_accuracy == ["accuracy"]
    source = latex.render(board)
    heads = [line for line in source.splitlines() if re.search(r"(^|& )accuracy &", line)]
    assert len(heads) == 2, "in the verdict and in their own table"


def test_every_format_begins_with_the_verdict(finished: Path) -> None:
    board = build([Store(finished)])
    said = sentence(verdict_of(board))
    assert text.terminal(board, columns=1000).replace("\n", " ").startswith(said)
    assert said in text.markdown(board).partition("\nProtocol ")[0].replace("\\", "")
    first = latex.render(board).partition("\\end{table*}")[0].replace("\\allowbreak{}", "")
    assert latex.escape(said) in first
    html = page(board)
    assert 0 < html.index(said) < html.index("How to read the numbers")
    assert json.loads(as_json(board))["verdict"]["sentence"] == said


def texts_of(board: Leaderboard) -> list[str]:
    """Every number of a verdict, with its rank."""
    rows = verdict_of(board).rows
    return [value.text(interval=False) for row in rows for value in (*row.accuracies, *row.values)]


WIDTHS = (40, 60, 80, 100, 160)


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_verdict_fits_and_cuts_no_number(columns: int, finished: Path, tmp_path: Path) -> None:
    published = [build([Store(PUBLISHED / part)]) for part in ("quick", "strong")]
    long = build([write_table(tmp_path, [LONG, f"{LONG[:-1]}b"], explainers=("saliency", f"ig:{LONG}"))])
    for board in (*published, long, build([Store(finished)])):
        shown = text.terminal(board, columns=columns).partition("\n\nProtocol")[0]
        assert max(map(len, shown.splitlines())) <= min(columns, 100)
        spaced = " ".join(shown.split())
        for number in texts_of(board):
            mean, _, rest = number.partition(" ")
            assert any(piece in spaced for piece in (number, f"{mean} [")) and rest in spaced
        # A long name goes on in the first column of the next lines.
        first = "".join(
            line[: line.find("  ", 1)].strip() if "  " in line else line.strip() for line in shown.splitlines()
        )
        assert all(row.name in first for row in verdict_of(board).rows)


def test_wide_terminals_show_intervals_and_narrow_ones_put_columns_below_each_other(tmp_path: Path) -> None:
    board = made(tmp_path, ["good", "middling", "bad"])
    wide, narrow, tight = (
        text.terminal(board, columns=width).partition("\n(1) is a rank")[0] for width in (100, 60, 40)
    )
    assert "] (1)" in wide
    assert "] (1)" not in narrow and " (1)" in narrow
    assert [shown.count("\nmethod") for shown in (wide, narrow, tight)] == [1, 1, 2]


def test_blocks_are_printed_where_they_are_few_or_asked_for(finished: Path, capsys: Capture) -> None:
    assert run(["report", finished], capsys)[1].count("\n-- saliency") == 0
    full = run(["report", finished, "--full"], capsys)[1]
    assert full.count("\n-- saliency") == 5, "the worst case, three attacks and clean maps"


def test_the_terminal_decides_the_width(finished: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (60, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = run(["report", finished], capsys)[1].splitlines()
        assert columns - 12 < max(map(len, lines)) <= columns


def made(folder: Path, methods: list[str], **changes: Any) -> Leaderboard:
    return build([write_table(folder, methods, explainers=("saliency",), **changes)])


def test_the_sentence_names_winner_and_price(tmp_path: Path) -> None:
    board = made(tmp_path, ["good", "middling", "bad"], images=60)
    assert sentence(verdict_of(board)) == (
        "good comes first: unbeaten in 2 of 2 columns, with 96.7 % accuracy. "
        "Behind: middling, unbeaten in 0 (96.7 % accuracy); bad, unbeaten in 0 (96.7 % accuracy, 1 flag)."
    )


def test_the_price_is_told_beside_the_highest_accuracy(finished: Path) -> None:
    verdict = verdict_of(build([Store(finished)]))
    first, said = verdict.rows[0], sentence(verdict)
    for place, what in enumerate(("accuracy", "under apgd")):
        most = max(float(row.accuracies[place].mean) for row in verdict.rows)
        highest = [row.name for row in verdict.rows if float(row.accuracies[place].mean) == most]
        mine, theirs = first.accuracies[place], " and ".join(highest)
        tie = ", a tie" if mine.rank == 1 else ""
        above = "" if first.name in highest else f" (highest: {most:.1f} % of {theirs}{tie})"
        assert f"{mine.mean} % {what}{above}" in said


def test_equals_tie_for_the_first_place(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["one", "two"], explainers=("saliency",))
    rows = store.rows()
    for key, row in rows.items():
        if key.startswith("001"):
            twin = rows["000" + key.removeprefix("001")]
            assert isinstance(row, ScoredRow) and isinstance(twin, ScoredRow)
            scores, feasible = store.load_scores(twin)
            store.append([replace(row, scores_sha256=store.save_scores(key, scores, feasible), flags=None)])
    said = sentence(verdict_of(build([store])))
    assert said.startswith("2 methods tie for the first place, unbeaten in 2 of 2 columns: one has ")
    assert "Behind" not in said


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "100.0 % of m1"), (3, "100.0 % of m1, m2 and m3"), (6, "100.0 % of 6 methods")],
)
def test_all_who_have_the_highest_accuracy_are_named_or_counted(count: int, said: str) -> None:
    rows = [
        Judged(
            name=f"m{place}",
            accuracies=(Value(mean="100.0" if 0 < place <= count else "90.0", rank=1 if place else 2),),
            values=(),
            unbeaten=0 if place else 1,
            passes=None,
            flags=(),
            competes=True,
        )
        for place in range(8)
    ]
    column = Shown(words=("accuracy (%)",), metric=Metric.of(ACCURACY))
    verdict = Verdict(where="", accuracies=(column,), columns=(), rows=tuple(rows), counted=1, basis="", images=100)
    assert f"m0 comes first: unbeaten in 1 of 1 column, with 90.0 % accuracy (highest: {said})." in sentence(verdict)


def test_a_verdict_on_few_images_is_given_with_caution(tmp_path: Path) -> None:
    few, enough = (sentence(verdict_of(made(tmp_path / str(n), ["good", "bad"], images=n, reason=""))) for n in (6, 30))
    assert few.endswith(" Caution: these are 6 images; with fewer than 30 few differences can be told from chance.")
    assert "Caution" not in enough
    assert "Caution: these are 6 images" in text.markdown(made(tmp_path / "again", ["good", "bad"], images=6, reason=""))


def test_methods_that_tie_are_listed_by_their_means_and_not_as_they_were_typed(tmp_path: Path) -> None:
    # Five images tell nobody apart; the last of the methods scores best.
    board = made(tmp_path, ["bad", "middling", "good"], images=5, reason="")
    for group in (*board.worst, *board.groups):
        numbers = [line.numbers for line in group.lines][::-1]
        lines = [dataclasses.replace(line, numbers=own) for line, own in zip(group.lines, numbers, strict=True)]
        object.__setattr__(group, "lines", tuple(lines))
    verdict = verdict_of(board)
    assert {row.unbeaten for row in verdict.rows} == {verdict.counted}
    assert [row.name for row in verdict.rows] == ["good", "middling", "bad"]
    assert sentence(verdict).startswith("3 methods tie for the first place, unbeaten in 2 of 2 columns: good has ")


def test_one_method_and_few_images_are_not_ranked(tmp_path: Path) -> None:
    alone = made(tmp_path / "one", ["good"])
    assert sentence(verdict_of(alone)).startswith("good has nothing to be compared with: ")
    few = made(tmp_path / "few", ["good", "bad"], images=3, reason="")
    assert sentence(verdict_of(few)) == (
        "No method can be ranked: too few images have scores of two or more. "
        "good has 66.7 % accuracy; bad has 66.7 % accuracy."
    )
    assert "unbeaten" not in text.terminal(few)


def test_a_run_of_which_everything_failed_says_so(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "bad"], explainers=("saliency",))
    store.append([records.failed(key, metric=row.metric) for key, row in store.rows().items()])
    board = build([store])
    assert sentence(verdict_of(board)) == (
        "No method can be ranked: their numbers failed. good has no accuracy; bad has no accuracy."
    )
    shown = text.terminal(board)
    assert "failed" in shown
    _, failed, _ = closing_lines([board], ["RUN"], ["csv"], full=True)
    assert failed == "failed: 10 numbers, of good, bad; the command of the run tries them again"


def test_baselines_are_shown_only_where_there_is_nothing_else_and_lead_nothing(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "bad"], explainers=("saliency",), baselines=("random-map of good",))
    assert [row.name for row in verdict_of(build([store])).rows] == ["good", "bad"]
    plan = store.plan()
    store.write_plan(replace(plan, subjects=tuple(replace(item, baseline=True) for item in plan.subjects)))
    verdict = verdict_of(build([store]))
    assert sentence(verdict) == "No method to compare: these are sanity-check baselines, which lead nothing."
    assert [row.competes for row in verdict.rows] == [False] * 3
    assert not any(value.rank for row in verdict.rows for value in (*row.accuracies, *row.values))


def test_a_network_at_chance_stands_last_and_leads_nothing(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["guesses", "good", "bad"], explainers=("saliency",), reason="")
    (row,) = [row for row in store.rows().values() if row.fingerprint.startswith("000-") and isinstance(row, ScoredRow)]
    hits = (np.arange(40) % 10 == 0).astype(float)
    store.append([replace(row, scores_sha256=store.save_scores(row.fingerprint, hits, np.ones(40, dtype=bool)))])
    verdict = verdict_of(build([store]))
    assert [row.name for row in verdict.rows] == ["good", "bad", "guesses"]
    assert sentence(verdict).startswith("good comes first")
    assert "guesses" not in sentence(verdict)
    for key in ("001--accuracy", "002--accuracy"):
        scored = store.rows()[key]
        assert isinstance(scored, ScoredRow)
        store.append([replace(scored, scores_sha256=store.save_scores(key, hits, np.ones(40, dtype=bool)))])
    assert sentence(verdict_of(build([store]))) == "No method leads: none of the networks is better than guessing."


def test_a_worst_case_has_the_flags_of_its_network_and_counts_them(tmp_path: Path) -> None:
    board = made(tmp_path, ["good", "middling", "bad"])
    (group,) = board.worst
    assert [[flag.name for flag in line.numbers[0].flags] for line in group.lines] == [[], [], ["masked"]]
    assert [row.flags for row in verdict_of(board).rows] == [(), (), ("masked",)]
    assert ", 1 flag)" in sentence(verdict_of(board))
    flags, _, _ = closing_lines([board], ["RUN"], ["csv"], full=False)
    assert flags == "flags: bad (masked)"


def test_flagged_numbers_have_no_rank_and_lead_no_column(tmp_path: Path) -> None:
    # The last method is flagged; turned round, it is the best by far.
    store = write_table(tmp_path, ["bad", "middling", "good", "liar"], explainers=("saliency",))
    rows = store.rows()
    loaded = {key: store.load_scores(row) for key, row in rows.items() if isinstance(row, ScoredRow)}
    for key, row in rows.items():
        if isinstance(row, ScoredRow) and "saliency" in key:
            scores, feasible = loaded[f"{3 - int(key[:3]):03d}{key[3:]}"]
            mean, sha256 = float(scores.mean()), store.save_scores(key, scores, feasible)
            store.append([replace(row, scores_sha256=sha256, mean=mean)])
    board = build([store])
    for group in (*board.subset(ALL, "attack"), *board.worst):
        assert [[number.rank for number in line.numbers] for line in group.lines] == [[3, 3], [2, 2], [1, 1], [None] * 2]
        means = [line.numbers[0].estimate for line in group.lines]
        assert all(other and means[3] and means[3].mean > other.mean for other in means[:3])
    verdict = verdict_of(board)
    assert [row.name for row in verdict.rows] == ["good", "middling", "bad", "liar"]
    assert sentence(verdict).startswith("good comes first: unbeaten in 2 of 2 columns")
    (line, *_) = (line for line in text.markdown(board).splitlines() if line.startswith("| liar"))
    assert line.endswith(" ! |") and "**" not in line.split("|")[-2]


def test_a_verdict_says_that_flags_leave_nothing_to_rank(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "liar"], explainers=("saliency",))
    assert sentence(verdict_of(build([store]))).startswith(
        "No method can be ranked: good alone has numbers without a flag. "
    )
    rows = [row for row in store.rows().values() if isinstance(row, ScoredRow)]
    (flags, *_) = (row.flags for row in rows if row.flags)
    store.append([replace(row, flags=flags) for row in rows if "saliency" in row.fingerprint])
    assert sentence(verdict_of(build([store]))).startswith("No method can be ranked: all their numbers are flagged. ")


def test_a_mean_over_seeds_of_which_one_is_flagged_is_flagged_and_has_no_rank(tmp_path: Path) -> None:
    board = made(tmp_path, ["good", "bad", "unsteady", "unsteady"])
    for group in board.worst:
        (mean,) = group.means
        assert [[flag.name for flag in number.flags] for number in mean.numbers] == [["masked"]] * 2
        assert [number.rank for number in mean.numbers] == [None] * 2
        assert {line.numbers[0].rank for line in group.lines[:2]} == {1, 2}
    assert verdict_of(board).rows[-1].values[0].text(interval=False).endswith(" !")


def test_noise_that_beats_one_of_two_attacks_does_not_flag_the_worst_case(tmp_path: Path) -> None:
    attacks = ("noise", "topk", "target")
    store = write_table(tmp_path, ["good", "bad"], explainers=("saliency",), attacks=attacks)

    def as_noise(attack: str) -> None:
        rows = store.rows()
        for metric in METRICS:
            key, like = (f"000saliency-{name}-{metric.name}" for name in (attack, "noise"))
            row, noise = rows[key], rows[like]
            assert isinstance(row, ScoredRow) and isinstance(noise, ScoredRow)
            scores, feasible = store.load_scores(noise)
            shift = 0.01 if metric.higher_is_better else -0.01
            store.append([replace(row, scores_sha256=store.save_scores(key, scores + shift, feasible))])

    def names() -> list[str]:
        (group,) = build([store]).worst
        return [flag.name for flag in group.lines[0].numbers[0].flags]

    as_noise("topk")
    assert "noise-beats-attack" in [note.split(": ")[1] for note in attacked_notes(store)]
    assert names() == []
    as_noise("target")
    assert names() == ["noise-beats-attack"]


def attacked_notes(store: Store) -> list[str]:
    from attrobust.benchmark.report.notes import notes

    return notes(build([store]))


def test_seeds_of_a_method_are_one_row(tmp_path: Path) -> None:
    board = made(tmp_path, ["good", "good", "good", "bad"])
    verdict = verdict_of(board)
    assert [row.name for row in verdict.rows] == ["good (3 seeds)", "bad (seed 0)"]
    (group,) = board.worst
    assert verdict.rows[0].values[0].rank == group.means[0].numbers[0].rank
    assert verdict.rows[0].values[0].interval.startswith("± ")


def test_what_a_training_costs_is_told_where_the_run_recorded_it(finished: Path, tmp_path: Path) -> None:
    plan = written_plan(finished)
    # Natural training: forward and backward; AGA: the formula of its docstring; 20 epochs each.
    assert plan["passes"]["natural"] == 20 * 2
    assert plan["passes"]["aga"] == 20 * (2 + 4 + 1)
    frame = attrobust.results(finished)
    assert set(frame[frame.method == "aga"].training_passes) == {140.0}
    assert frame[frame.baseline].training_passes.isna().all()
    (head,) = [line for line in text.terminal(build([Store(finished)])).splitlines() if line.startswith("method ")]
    assert "passes" in head
    without = build([write_table(tmp_path, ["good", "bad"])])
    assert "passes" not in text.terminal(without).partition("\n\nProtocol")[0]


def test_figures_and_the_record_agree_on_what_a_training_costs(finished: Path) -> None:
    from attrobust.benchmark.figures.training_cost import with_training_passes

    frame = attrobust.results(finished)
    again = with_training_passes(frame.drop(columns="training_passes"), finished)
    networks = ~frame.baseline
    pd.testing.assert_series_equal(frame.training_passes[networks], again.training_passes[networks])


def test_parts_that_cannot_be_pooled_have_a_verdict_each(capsys: Capture, tmp_path: Path) -> None:
    folder = shutil.copytree(PUBLISHED, tmp_path / "board")
    code, out, err = run(["report", folder], capsys)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("== ")] == [
        "== quick, 64 images",
        "== strong, 32 images",
        "== explanations, 32 images",
    ]
    assert out.count("lcnn comes first") == 2
    assert err.splitlines()[1:] == [
        "flags: none",
        "failed: none",
        f"next: run_benchmark.py report {folder} --full",
    ]


def test_the_next_command_is_one_that_shows_more(finished: Path) -> None:
    board = build([Store(finished)])
    nexts = [
        closing_lines([board], ["my run"], formats, full=full)[-1]
        for full, formats in itertools.product((False, True), (["csv"], ["csv", "html"]))
    ]
    assert nexts == [
        *(["next: run_benchmark.py report 'my run' --full"] * 2),
        "next: run_benchmark.py report 'my run' --export html",
        "next: run_benchmark.py figures 'my run'",
    ]
    odd = closing_lines([board], ["-runs", "--out", "-tables"], ["csv"], full=False)[-1]
    assert odd == "next: run_benchmark.py report ./-runs --out ./-tables --full"
