"""LaTeX tables go into an article as they are: they fit, do not clash, and say what the other tables say."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from attrobust.benchmark.report import csv, latex
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.paper.floats import paper
from attrobust.benchmark.report.paper.glyphs import breakable, escape, width
from attrobust.benchmark.report.sweeps import boards_of, together
from attrobust.benchmark.report.table import Leaderboard, Number
from attrobust.benchmark.report.verdict.view import verdict_of
from attrobust.benchmark.report.view.style import Style
from attrobust.benchmark.statistics import Estimate

from helpers.latex import compiled, labels, needs_latex, widths
from helpers.runs import ROOT
from helpers.tables import write_table

BOARD = ROOT / "results" / "digits-v1"
HOSTILE = [
    *(
        "a_b&c%",
        "ünïcödé-ñame",
        "中文字",
        "x" * 40,
        "[bracket",
        "*star",
        "a--b''c``d",
        "$x^2$ \\alpha {",
        '~tilde<>|"q',
    ),
    *("mine:cosd=0.1,eps=8/255,steps=100", "ends in a backslash \\", "#1 {", "ﬁ 🙂"),
]
FORTY = [f"method-{number}" for number in range(40)]
STYLES = {
    "one column": Style(),
    "two columns": Style(two_column=True, second=True),
    "transposed": Style(transpose=True, intervals="pm"),
    "transposed in two columns": Style(transpose=True, two_column=True),
    "no intervals": Style(intervals="none", two_column=True),
    "a caption": Style(caption="What $\\epsilon$ does to maps.", label="tab:main"),
}


def styled(folder: Path, methods: list[str], style: Style, **changes: object) -> Leaderboard:
    board = build([write_table(folder, methods, baselines=("constant-map",), **changes)])  # type: ignore[arg-type]
    return replace(board, style=style)


@pytest.fixture(scope="module")
def published() -> list[Leaderboard]:
    """The tables of a published board."""
    return boards_of(together([BOARD]), "percentile")


@needs_latex
@pytest.mark.parametrize("methods", [HOSTILE, ["aga"], FORTY], ids=["hostile names", "one method", "forty methods"])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_no_box_is_overfull_and_widths_are_as_estimated(methods: list[str], style: Style, tmp_path: Path) -> None:
    board = styled(tmp_path / "run", methods, style)
    source = latex.render(board)
    assert compiled(tmp_path, {"tables": source}, two_column=style.two_column) == []
    estimated, measured = [item.width for item in paper([board]).floats], widths(tmp_path, source)
    assert len(measured) == len(estimated) == source.count("\\begin{table")
    for said, real in zip(estimated, measured, strict=True):
        assert said == pytest.approx(real, abs=3.0)
    assert latex.too_wide(board, whole=True) == []


@needs_latex
def test_a_table_that_cannot_fit_says_by_how_much(tmp_path: Path) -> None:
    board = styled(tmp_path / "run", ["long" * 30], Style())
    (line, *_) = latex.too_wide(board, whole=True)
    complaints = compiled(tmp_path, {"tables": latex.render(board)})
    real = float(re.findall(r"Overfull \\hbox \(([\d.]+)pt", "".join(complaints))[0])
    said = re.fullmatch(r"tab:attrobust-quick-\w+-verdict is (\d+) pt wider than the 345 pt that it has", line)
    assert said is not None
    assert int(said[1]) == pytest.approx(real, abs=3.0)
    assert latex.render(board).splitlines()[1] == f"% {line}"


@needs_latex
@pytest.mark.parametrize("two_column", [False, True])
def test_tables_of_two_runs_stand_in_one_article(
    published: list[Leaderboard], two_column: bool, tmp_path: Path
) -> None:
    fresh = styled(tmp_path / "run", ["natural", "aga"], Style(two_column=two_column))
    boards = [replace(board, style=Style(two_column=two_column)) for board in published]
    tables = {"board": latex.render(*boards), "fresh": latex.render(fresh)}
    assert compiled(tmp_path, tables, two_column=two_column) == []


def test_labels_of_tables_do_not_clash_unless_these_are_the_same(tmp_path: Path) -> None:
    one, other = styled(tmp_path / "1", ["a", "b"], Style()), styled(tmp_path / "2", ["a", "c"], Style())
    wide, again = replace(one, style=Style(intervals="none")), styled(tmp_path / "3", ["a", "b"], Style())
    found = [labels(latex.render(board)) for board in (one, other, wide)]
    assert len({label for of_one in found for label in of_one}) == sum(map(len, found))
    assert labels(latex.render(again)) == found[0], "not of the place of the folder"
    view = replace(one, style=Style(is_view=True))
    (group, *others) = view.groups
    renamed = replace(
        view, groups=(replace(group, lines=tuple(replace(x, label=x.label * 2) for x in group.lines)), *others)
    )
    assert not {*labels(latex.render(view))} & {*labels(latex.render(renamed))}, "two views that name rows otherwise"
    named = replace(one, style=Style(label="tab:mine"))
    assert labels(latex.render(named))[:3] == ["tab:mine-verdict", "tab:mine", "tab:mine-2"]
    assert "\\ref{tab:mine}" in latex.render(named)


def test_every_number_is_that_of_the_csv_and_accuracy_stands_once(published: list[Leaderboard]) -> None:
    table = pd.read_csv(io.StringIO(csv.render(*published)), dtype=str, keep_default_na=False)
    others = set(table[(table["baseline"] == "False")]["checkpoint"])
    twice = (table["scope"] == "") & (table["baseline"] == "True") & table["checkpoint"].isin(others)
    assert set(table[twice]["method"]) == {"constant-map of natural", "random-map of natural"}
    ok = table[(table["mean"] != "") & ~twice]
    expected = sorted(zip(ok["mean"], ok["ci_low"], ok["ci_high"], ok["best"], strict=True))
    source = latex.render(*published).replace("$-$", "-")
    cells = re.findall(
        r"(\\textbf\{)?(-?\d+\.\d+)\}?(?:\\textsuperscript\{.*?\})? \{\\scriptsize \[(-?[\d.]+), (-?[\d.]+)\]", source
    )
    found = sorted((mean, low, high, str(bool(bold))) for bold, mean, low, high in cells)
    assert len(found) > 1000
    assert found == expected


def test_a_transposed_table_has_the_same_cells(tmp_path: Path) -> None:
    def cells(board: Leaderboard) -> list[str]:
        rows = [line for line in latex.render(board).splitlines() if "scriptsize" in line]
        return sorted(cell.removesuffix(" \\\\") for row in rows for cell in row.split(" & ")[1:])

    board = styled(tmp_path, FORTY[:7], Style())
    assert cells(replace(board, style=Style(transpose=True))) == cells(board)


def test_the_second_best_is_the_next_rank_after_the_best(tmp_path: Path) -> None:
    board = styled(tmp_path, FORTY[:7], Style(second=True, intervals="none"))
    table = pd.read_csv(io.StringIO(csv.render(board)))
    ranked = table[table["rank"].notna()]
    expected = 0
    for _, column in ranked.groupby(["subset", "explainer", "attack", "metric"]):
        later = column["rank"][column["rank"] > 1]
        expected += int((later == later.min()).sum())
    assert expected > 4
    assert latex.render(board).count("\\underline{") == expected
    assert "The next rank after the best is underlined." in latex.render(board)
    assert "\\underline" not in latex.render(replace(board, style=Style()))


def test_ties_everywhere_are_all_bold_and_undefined_is_said(tmp_path: Path) -> None:
    board = styled(tmp_path, ["a", "b", "c"], Style(second=True), images=5)
    ranks = {number.rank for group in board.groups for line in group.lines for number in line.numbers}
    assert ranks == {1, None}, "five images tell nothing apart"
    assert "\\underline" not in latex.render(board)
    shown = (*board.groups, *board.worst, board.accuracy)
    best = sum(number.best for group in shown for line in group.lines for number in line.numbers)
    first = sum(value.rank == 1 for row in verdict_of(board).rows for value in (*row.accuracies, *row.values))
    assert latex.render(board).count("\\textbf{") == best + first
    failed = styled(tmp_path / "failed", ["a", "b"], Style(), failed="b")
    assert latex.render(failed).count("failed") == 2 * 4 * 2 + 2 * 2 + 2, "blocks, worst cases and the verdict"


@needs_latex
def test_a_metric_that_is_undefined_everywhere_is_set(tmp_path: Path) -> None:
    board = styled(tmp_path / "run", ["a", "b"], Style(second=True))
    nothing = Number(estimate=Estimate(mean=math.nan, low=math.nan, high=math.nan, n=40, defined=0))
    groups = [
        replace(group, lines=tuple(replace(line, numbers=(nothing, *line.numbers[1:])) for line in group.lines))
        for group in board.groups
    ]
    source = latex.render(replace(board, groups=tuple(groups)))
    assert compiled(tmp_path, {"tables": source}) == []
    assert source.count("undefined") == 3 * 4 * 2


def test_plus_minus_is_the_larger_side_of_the_interval(tmp_path: Path) -> None:
    board = styled(tmp_path, ["a", "b"], Style(intervals="pm"))
    group = board.groups[0]
    number, metric = group.lines[0].numbers[0], group.metrics[0]
    assert number.estimate is not None
    side = max(number.estimate.mean - number.estimate.low, number.estimate.high - number.estimate.mean)
    assert f"{{\\scriptsize $\\pm$ {metric.text(side)}}}" in latex.render(board)
    assert "the larger distance from it to an end of its 95 \\% interval (bootstrap;" in latex.render(board)


def test_a_caption_of_ones_own_leaves_the_facts_below_the_table(tmp_path: Path) -> None:
    source = latex.render(styled(tmp_path, ["a", "b"], STYLES["a caption"]))
    assert "\\caption{What $\\epsilon$ does to maps.}" in source
    facts = next(line for line in source.splitlines() if line.startswith("All 40 images. Protocol quick v1"))
    assert "linf 16/255 in pixel units" in facts
    assert source.index("\\end{tabular}") < source.index(facts)


def test_text_is_escaped_and_what_has_no_glyph_is_said() -> None:
    assert escape("--a'' ?` é 中 ε ± -") == "-{}-a'{}' ?{}` é [U+4E2D] $\\varepsilon$ $\\pm$ -"
    assert breakable("short words stay") == "short words stay"
    assert breakable("x" * 40).count("\\allowbreak{}") == 2
    assert breakable("mine:cosd=0.1,eps=8/255,steps=100").replace("\\allowbreak{}", "") == (
        "mine:cosd=0.1,eps=8/255,steps=100"
    )


def test_widths_are_those_of_the_fonts() -> None:
    assert width("0", "cmr10") == pytest.approx(5.0, abs=0.01)
    assert width("00", "cmbx10") == pytest.approx(11.5, abs=0.01)
    assert width("é", "cmr9") == width("e", "cmr9")
