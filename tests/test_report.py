"""Tables say what the rows say: means, intervals, ties, subsets, flags, in every format the same digits."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.report import csv, latex, text
from benchmark.report.leaderboard import ALL, COMMON, Leaderboard, build
from benchmark.statistics import estimate
from benchmark.store import SCHEMA, Store

IMAGES = 40
METRICS = [
    {"label": "top-10% (%)", "name": "topk", "higher_is_better": True, "scale": 100.0, "decimals": 1},
    {"label": "l2 (l2-norm.)", "name": "l2", "higher_is_better": False, "scale": 1.0, "decimals": 3},
]
ACCURACY = {"label": "accuracy", "name": "accuracy", "higher_is_better": True, "scale": 100.0, "decimals": 1}


def scores_of(method: str, attack: str, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Per-image scores of a made-up run: ``better`` always beats ``worse`` by little, ``twin`` equals ``better``."""
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
    if method == "masked" and attack == "topk":
        values = values + sign * 0.9
    return values


def write_run(folder: Path, methods: list[str], failed: tuple[str, str] | None = None) -> Store:
    store = Store(folder)
    entries, rows = [], []
    places = [("", "", ACCURACY)] + [("saliency", attack, m) for attack in ("noise:draws=2", "topk") for m in METRICS]
    for subject, method in enumerate(methods):
        for explainer, attack, metric in places:
            key = f"{method}-{attack}-{metric['name']}".replace("/", "")
            label = str(metric["label"])
            entries.append({"subject": subject, "explainer": explainer, "attack": attack, "metric": label, "row": key})
            row = {"schema": SCHEMA, "fingerprint": key, "metric": metric, "status": "ok"}
            if failed == (method, attack):
                rows.append({**row, "status": "failed", "error": "out of luck"})
                continue
            values = scores_of(method, attack.partition(":")[0], label)
            row["scores_sha256"] = store.save_scores(key, values, np.ones(len(values), dtype=bool))
            rows.append(row)
    store.append(rows)
    store.write_plan(
        {
            "schema": SCHEMA,
            "comparison": {
                **{"protocol": "quick v1", "dataset": "digits", "model": "lenet", "images": IMAGES, "seed": 0},
                **{"threat": "linf 16/255", "label": "predicted", "reduction": "abs-sum", "data_sha256": "d"},
                "keep_prediction": True,
            },
            "explainers": ["saliency"],
            "attacks": [{"label": "noise:draws=2", "name": "noise"}, {"label": "topk", "name": "topk"}],
            "metrics": METRICS,
            "subjects": [{"label": method, "seed": 0, "sha256": "ab" * 32} for method in methods],
            "entries": entries,
        }
    )
    return store


@pytest.fixture
def board(tmp_path: Path) -> Leaderboard:
    return build([write_run(tmp_path, ["better", "twin", "worse_%&", "undefined", "masked"], ("twin", "topk"))])


def test_means_and_intervals_are_those_of_the_scores(board: Leaderboard) -> None:
    group = board.subset(ALL)[0]
    wanted = estimate(scores_of("better", "noise", "top-10% (%)"))
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
    assert [line.numbers[0].best for line in topk.lines] == [False, False, False, False, True]


def test_a_single_row_is_not_called_best(tmp_path: Path) -> None:
    board = build([write_run(tmp_path, ["better"])])
    assert not any(number.best for group in board.groups for line in group.lines for number in line.numbers)


def test_the_common_subset_is_what_every_network_classifies_correctly(board: Leaderboard) -> None:
    group = board.subset(COMMON)[0]
    assert group.images == IMAGES - 4
    found = group.lines[0].numbers[0].estimate
    assert found == estimate(scores_of("better", "noise", "top-10% (%)")[4:])


def test_noise_that_beats_an_attack_is_flagged_in_every_format(board: Leaderboard) -> None:
    notes = board.notes()
    assert [note.split(":")[0] for note in notes] == [
        "masked, saliency, topk, top-10% (%)",
        "masked, saliency, topk, l2 (l2-norm.)",
    ]
    assert "noise-beats-attack" in csv.render(board)
    assert "noise-beats-attack" in text.markdown(board)
    assert "noise-beats-attack" in text.terminal(board)
    assert "\\textsuperscript{!}" in latex.render(board)


def test_csv_loads_in_pandas_with_numeric_columns(board: Leaderboard) -> None:
    table = pd.read_csv(io.StringIO(csv.render(board)))
    for column in ("images", "undefined", "legal", "mean", "ci_low", "ci_high", "seed"):
        assert pd.api.types.is_numeric_dtype(table[column]), column
    assert pd.api.types.is_bool_dtype(table["best"])
    assert len(table) == 5 + 2 * 5 * 2 * 2
    assert (table["status"] == "failed").sum() == 2 * 2
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
    # Accuracy stands once in the CSV and beside every row of the Markdown tables.
    assert len(numbers) == (defined["metric"] != "accuracy (%)").sum() + 5 * 4


def test_latex_has_bold_outside_math_arrows_and_escaped_names(board: Leaderboard) -> None:
    source = latex.render(board)
    assert "worse\\_\\%\\&" in source
    assert re.search(r"\\textbf\{\d+\.\d\} \{\\scriptsize \[", source)
    assert not any(re.search(r"\d", math) for math in source.split("$")[1::2]), "digits in math do not become bold"
    assert "$\\uparrow$" in source
    assert "$\\downarrow$" in source
    rows = [line for line in source.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in rows} == {3}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(board: Leaderboard, tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(latex.render(board))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{table}\\end{document}"
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_text_that_latex_and_markdown_would_interpret_is_escaped() -> None:
    assert latex.escape("a_b%c&d#e{f}~^\\<") == (
        "a\\_b\\%c\\&d\\#e\\{f\\}\\textasciitilde{}\\textasciicircum{}\\textbackslash{}\\textless{}"
    )


def test_a_number_that_rounds_to_nothing_has_no_sign(board: Leaderboard) -> None:
    assert board.metrics[1].text(-0.0001) == "0.000"
    assert board.metrics[1].text(-0.0006) == "-0.001"
