"""A view has a verdict where that counts all of its columns; it is of the rows that are shown and of nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from attrobust.benchmark.report import latex, text
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.page.render import render as page
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verdict.view import verdict_of
from attrobust.benchmark.report.view.keep import Keep
from attrobust.benchmark.report.view.style import Style
from attrobust.benchmark.report.write import as_json
from attrobust.benchmark.store.store import Store

from helpers.latex import compiled, labels, needs_latex
from helpers.runs import run
from helpers.tables import write_table

Capture = pytest.CaptureFixture[str]
METHODS = ["natural", "aga:cosd=0.1", "aga:cosd=1", "pgd-at", "trades"]
WORST = "worst of 2 attacks"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run of five methods with two explainers and two attacks."""
    return write_table(tmp_path / "run", METHODS, baselines=("constant-map of natural",))


def rendered(board: Leaderboard) -> dict[str, str]:
    """What every format says."""
    return {
        "terminal": text.terminal(board, full=True),
        "markdown": text.markdown(board),
        "latex": latex.render(board),
        "page": page(board),
        "json": as_json(board),
    }


@pytest.mark.parametrize(
    "keep",
    [
        Keep(attacks=("topk",)),
        Keep(metrics=("topk",)),
        Keep(metrics=("topk", "l2"), accuracies=("",)),
        Keep(subset="common"),
    ],
)
def test_a_view_without_some_of_the_columns_has_no_verdict_in_any_format(store: Store, keep: Keep) -> None:
    board = build([store], keep=keep)
    said = rendered(board)
    assert json.loads(said["json"])["verdict"] is None
    assert "-verdict" not in said["latex"]
    assert "Verdict" not in said["markdown"]
    assert 'id="verdict"' not in said["page"]
    assert not any("unbeaten" in words for words in said.values())
    assert ("worst of" in said["markdown"]) == (keep.attacks is None and not keep.subset)


@pytest.mark.parametrize("keep", [Keep(attacks=("topk", "noise")), Keep(subset="all")])
def test_a_view_of_all_columns_has_the_numbers_of_the_runs_verdict(store: Store, keep: Keep) -> None:
    assert verdict_of(build([store], keep=keep)) == verdict_of(build([store]))
    assert len(build([store], keep=keep).worst) == 2
    assert all("unbeaten" in words for words in rendered(build([store], keep=keep)).values())


def test_the_verdict_of_some_rows_is_that_of_a_run_of_these_rows(store: Store, tmp_path: Path) -> None:
    plan = store.plan()
    kept = plan.subjects[2:5]
    view = build([store], keep=Keep(rows=tuple(subject.key for subject in kept)))
    entries = [entry for entry in plan.entries if 2 <= entry.subject < 5]
    entries = [changed(entry, subject=entry.subject - 2) for entry in entries]
    store.write_plan(changed(plan, digest="", subjects=kept, entries=tuple(entries)))
    alone = build([Store(store.folder)])
    assert verdict_of(view) == verdict_of(alone)
    assert [group.lines for group in view.worst] == [group.lines for group in alone.worst]
    words = rendered(view)["terminal"]
    assert "natural" not in words
    assert "aga:cosd=0.1" not in words


def test_worst_cases_of_one_explainer_and_metric_keep_their_numbers(store: Store) -> None:
    (of_all,) = [group for group in build([store]).worst if group.explainer == "ig"]
    (shown,) = build([store], keep=Keep(explainers=("ig",), metrics=("l2",))).worst
    assert (shown.attack, [metric.label for metric in shown.metrics]) == (WORST, ["l2"])
    place = [metric.label for metric in of_all.metrics].index("l2")
    for line, other in zip(shown.lines, of_all.lines, strict=True):
        assert line.numbers[0].estimate == other.numbers[place].estimate


def test_accuracy_stands_once_and_is_ranked_in_a_view_of_another_subset(store: Store) -> None:
    board = build([store], keep=Keep(subset="common"))
    assert board.worst == ()
    assert text.markdown(board).count("| accuracy (%)") == 1
    whole = build([store]).accuracy
    assert [line.numbers for line in board.accuracy.lines] == [line.numbers for line in whole.lines]
    hidden = build([store], keep=Keep(metrics=("topk",), accuracies=()))
    assert "accuracy" not in text.markdown(hidden).partition("\nProtocol")[2]


def test_other_names_and_digits_reach_the_verdict_and_worst_cases(store: Store, capsys: Capture) -> None:
    words = ["--rename", "trades=TRADES (ours)", "--rename", "attack:topk=strong", "--rename", "ig=IG", "--digits", "3"]
    code, out, err = run(["report", store.folder, *words, "--intervals", "pm", "--name", "v"], capsys)
    assert code == 0, err
    verdict, blocks = out.split("\nProtocol ")
    for part in (verdict, blocks):
        assert "TRADES (ours)" in part
        assert "IG" in part
        assert not any(line.startswith("trades") for line in part.splitlines())
    markdown = (store.folder / "views" / "v" / "leaderboard.md").read_text()
    assert " ± " in markdown.partition("\nProtocol ")[0].partition("| method")[2]
    assert f"-- IG, {WORST} " in blocks
    assert "next: " not in err, "the command of a whole run shows another table"


def test_the_verdict_of_versions_names_them(store: Store, tmp_path: Path, capsys: Capture) -> None:
    other = write_table(tmp_path / "new", ["natural", "trades"])
    plan = other.plan()
    subjects = (plan.subjects[0], changed(plan.subjects[1], sha256="f" * 64))
    other.write_plan(changed(plan, digest="", subjects=subjects))
    words = ["report", f"old={store.folder}", f"new={other.folder}", "--out", tmp_path / "both", "--export"]
    code, out, err = run([*words, "json,latex"], capsys)
    assert code == 0, err
    rows = json.loads((tmp_path / "both" / "leaderboard.json").read_text())["verdict"]["methods"]
    expected = {"natural", "aga:cosd=0.1 (old)", "aga:cosd=1 (old)", "pgd-at (old)", "trades (old)", "trades (new)"}
    assert {row["method"] for row in rows} == expected
    assert all(name in out for name in expected)
    again = [f"old={store.folder}", f"new={other.folder}"]
    assert err.splitlines()[-1].startswith(f"next: run_benchmark.py report {again[0]} {again[1]} --out ")
    assert run([*words, "html", "--full"], capsys)[2].count("next: ") == 0, "figures know no versions"


def test_labels_of_verdicts_do_not_clash_with_those_of_tables(store: Store) -> None:
    board = build([store])
    several = [replace(board, where="one"), replace(board, where="two")]
    found = labels(latex.render(*several))
    assert len(found) == len(set(found))
    assert [label.rpartition("-verdict")[2] for label in found if "-verdict" in label][:2] == ["", "-2"]


@needs_latex
@pytest.mark.parametrize(
    "style", [Style(), Style(two_column=True), Style(transpose=True, two_column=True)], ids=["one", "two", "transposed"]
)
def test_verdicts_of_long_names_fit_the_page(style: Style, tmp_path: Path) -> None:
    names = [f"a-method-of-a-paper:weight={number},steps=100,eps=8/255" for number in range(20)]
    store = write_table(tmp_path / "run", names, explainers=("saliency", "ig", "input-x-gradient"))
    board = replace(build([store]), style=style)
    assert compiled(tmp_path, {"tables": latex.render(board)}, two_column=style.two_column) == []
