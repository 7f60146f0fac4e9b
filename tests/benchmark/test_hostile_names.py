"""Whatever a name holds, every export and the terminal show it as text, on one line, and compute and obey nothing."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed_in

import attrobust
from attrobust.benchmark.command.logs import LOG, logging_to
from attrobust.benchmark.command.saying import say, tell
from attrobust.benchmark.report import csv as tidy
from attrobust.benchmark.report import latex, text, write
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.wide import render as wide
from attrobust.naming.safe import csv_cell, line, lines, markdown

from helpers.latex import compiled, needs_latex
from helpers.tables import write_table

Capture = pytest.CaptureFixture[str]
NAMES = [
    "=HYPERLINK(http://x)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "two\nlines",
    "three\r\n| lines | of |\r\n\u2028# a table",
    "\x1b[31mred\x1b[0m\x07\x9b2J",
    "\u202eright to left",
    "[click](http://evil.example)",
    "![image](http://evil.example/x.png)",
    "<http://evil.example> <b>bold</b> <script>alert(1)</script>",
    "http://evil.example www.evil.example me@evil.example",
    "**bold** _under_ `code` ~gone~ a|b $x^2$ back\\slash \\input{x} 100% & #1 {",
    "&lt;b&gt; &#91;",
    "# heading",
    "1. list",
    "- [x]: http://evil.example",
]
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
"""What a terminal may obey, or end a line at, but for the end of a line itself."""


def hostile(folder: Path, name: str) -> Leaderboard:
    """A table in which everything that somebody may have named is called so."""
    reason, methods = f"reason {name}", [name, f"{name} 2"]
    store = write_table(folder, methods, explainers=("saliency",), images=8, reason=reason, accuracy_attack="apgd")
    board = build([store])
    comparison = board.comparison
    for group in (*board.groups, *board.worst):
        titled = tuple(replace(metric, title=f"{name} {metric.title}") for metric in group.metrics)
        object.__setattr__(group, "typed", group.address)
        object.__setattr__(group, "metrics", titled)
        object.__setattr__(group, "explainer", f"{name} {group.explainer}")
        object.__setattr__(group, "attack", f"{name} {group.attack}" if group.attack else "")
    changed = {key: f"{name} {getattr(comparison, key)}" for key in ("protocol", "dataset", "model")}
    return replace(board, comparison=changed_in(comparison, **changed), where=f"{name} where")


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_export_computes_obeys_or_links_a_name(name: str, tmp_path: Path) -> None:
    board = hostile(tmp_path, name)
    for full in (False, True):
        shown = text.terminal(board, full=full)
        assert not CONTROLS.search(shown)
        assert len(shown.splitlines()) == len(shown.split("\n")) - 1
    benign = hostile(tmp_path / "benign", "name")
    shown = text.markdown(board)
    assert not CONTROLS.search(shown)
    assert shown.count("\n") == text.markdown(benign).count("\n"), "no name makes lines"
    assert_markdown_is_text(shown, benign)
    for source in (latex.render(board), latex.head(board)):
        assert not CONTROLS.search(source)
        assert "\\input{x}" not in source
    for table in (tidy.render(board), wide(board)):
        for cell in (cell for row in csv.reader(io.StringIO(table, newline="")) for cell in row):
            assert not cell.startswith(("=", "+", "@", "\t", "\r")), cell
            assert not cell.startswith("-") or float(cell) < 0
    assert json.loads(write.as_json(board))["where"] == f"{name} where"
    body = write.page(board).partition("<body>")[2].partition("<dialog")[0]
    assert not re.search(r"<script|<b>|href=|<img", body)
    page = write.page(board)
    assert not set(re.findall(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]", page))
    for row in write.FORMATS["bibtex"][1](board).splitlines():
        assert row == "" or not CONTROLS.search(row)


def assert_markdown_is_text(shown: str, benign: Leaderboard) -> None:
    """Hold what a parser of Markdown makes of a table: as many elements of each kind as of harmless names."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False, "html": True})
    kinds = [[token.type for token in parser.parse(source)] for source in (shown, text.markdown(benign))]
    assert kinds[0] == kinds[1]
    inside = {child.type for token in parser.parse(shown) for child in token.children or ()}
    assert inside <= {"text", "strong_open", "strong_close", "text_special", "softbreak"}


def test_results_have_names_as_they_are(tmp_path: Path) -> None:
    name = "=1+1\n\x1b[31m"
    store = write_table(tmp_path, [name, "natural"])
    assert {*attrobust.results(store.folder)["method"]} == {name, "natural"}


@needs_latex
def test_tables_of_hostile_names_compile(tmp_path: Path) -> None:
    board = hostile(tmp_path / "run", " ".join(NAMES[-6:]))
    problems = compiled(tmp_path, {"tables": latex.head(board)})
    assert [line for line in problems if "\\hbox" not in line] == []


@pytest.mark.parametrize(("write_line", "stream"), [(say, "out"), (tell, "err")])
def test_a_line_that_is_printed_is_one_line(write_line: Callable[[str], None], stream: str, capsys: Capture) -> None:
    for name in NAMES:
        write_line(f"failed: {name}: {name}")
        shown = getattr(capsys.readouterr(), stream)
        assert shown.endswith("\n")
        assert not CONTROLS.search(shown[:-1])
        assert shown.count("\n") == 1


def test_of_a_very_long_line_the_ends_are_printed(capsys: Capture) -> None:
    tell(f"error: no dataset {'x' * 10**6}; there are digits")
    shown = capsys.readouterr().err
    assert len(shown) < 5000
    assert shown.startswith("error: no dataset xxx")
    assert shown.endswith("xxx; there are digits\n")


def test_the_log_is_read_without_harm(tmp_path: Path, capsys: Capture) -> None:
    with logging_to(tmp_path / "log.txt"):
        for name in NAMES:
            LOG.warning("%s: %s", name, "odd")
            LOG.log(logging.INFO, "%s", name)
    for shown in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert not CONTROLS.search(shown)
        assert "red" in shown


def test_harmless_text_stays_as_it_is() -> None:
    for kept in ("aga:cosd=0.1 (mean of 3 seeds)", "top-10% (%) ↑", "47.8 [44.7, 51.1] (1)", "linf 16/255", "r²"):
        assert markdown(kept) == line(kept) == lines(kept) == csv_cell(kept) == kept
    for number in (1, -0.5, True, "-0.25", "+3", "-1e-05", "-inf", ""):
        assert csv_cell(number) == number
