"""What results/README.md shows of a board is what the board's table says."""

from __future__ import annotations

import re
from pathlib import Path

from attrobust.benchmark.boards.board import boards_in

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
EXCERPT = re.compile(r"<!-- (?P<board>\S+): (?P<block>.+?) -->\n\n(?P<table>(?:\|.*\n)+)")


def table_of(text: str) -> dict[str, dict[str, str]]:
    """Rows of a Markdown table by their first cell; each the other cells by their header, without marks."""
    head, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines())
    return {row[0]: dict(zip(head[1:], (cell.replace("*", "") for cell in row[1:]), strict=True)) for row in rows}


def differences(readme: str, results: Path) -> list[str]:
    """Cells of the excerpts in a README that are not in the boards' tables."""
    found = []
    for excerpt in EXCERPT.finditer(readme):
        whole = (results / excerpt["board"] / "leaderboard.md").read_text()
        _, _, block = whole.partition(f"### {excerpt['block']}\n\n")
        published = table_of(block.partition("\n\n")[0])
        for method, cells in table_of(excerpt["table"]).items():
            found += [
                f"{excerpt['board']}, {excerpt['block']}: {method}: {column} is {published[method][column]}, not {cell}"
                for column, cell in cells.items()
                if published[method][column] != cell
            ]
    return found


def test_every_board_has_an_excerpt_and_each_says_what_its_table_says() -> None:
    readme = (RESULTS / "README.md").read_text()
    boards = [board for board in boards_in(RESULTS) if not board.startswith("submissions/")]
    assert {excerpt["board"] for excerpt in EXCERPT.finditer(readme)} == set(boards)
    assert differences(readme, RESULTS) == []


def test_an_excerpt_of_another_number_is_found(tmp_path: Path) -> None:
    board = tmp_path / "small"
    board.mkdir()
    table = "| method | cosine |\n|---|---:|\n| aga | **0.9** [0.8, 1.0] |\n"
    (board / "leaderboard.md").write_text(f"# small\n\n### saliency, noise\n\n{table}\nNotes\n")
    right = f"<!-- small: saliency, noise -->\n\n{table}"
    assert differences(right, tmp_path) == []
    assert differences(right.replace("0.9", "0.8"), tmp_path) == [
        "small, saliency, noise: aga: cosine is 0.9 [0.8, 1.0], not 0.8 [0.8, 1.0]"
    ]
