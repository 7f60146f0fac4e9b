"""``attrobust.results`` and ``attrobust.scores`` say what ``leaderboard.csv`` and the stored scores say."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import attrobust
from attrobust import UsageError
from attrobust.benchmark.command.main import main

from helpers.runs import ATTACKED, ROOT, SCORED

PLACE = ["table", "method", "seed", "checkpoint", "scope", "explainer", "attack", "metric"]
REFERENCE = ROOT / "tests" / "reference"


def written(folder: Path) -> pd.DataFrame:
    """``leaderboard.csv`` as a user of pandas reads it, empty texts as such."""
    texts = pd.read_csv(folder / "leaderboard.csv", dtype=str, keep_default_na=False)
    numbers = pd.read_csv(io.StringIO(texts.to_csv(index=False)))
    return numbers.assign(
        **{name: texts[name] for name in texts if texts[name].dtype == numbers[name].dtype or name == "checkpoint"}
    )


def check_equal(frame: pd.DataFrame, folder: Path) -> None:
    known = written(folder)
    assert len(frame) == len(known)
    for name in known:
        for mine, theirs in zip(frame[name], known[name], strict=True):
            missing = pd.isna(theirs) or theirs == ""
            assert (pd.isna(mine) or mine == "") if missing else str(mine) == str(theirs) or mine == theirs, name


def test_every_number_of_a_sweep_is_that_of_the_csv_to_the_last_digit(sweep_of_radii: Path) -> None:
    frame = attrobust.results(sweep_of_radii)
    check_equal(frame, sweep_of_radii)
    assert set(frame.table) == {"eps 4/255", "eps 16/255"}
    assert set(frame.eps) == {4 / 255, 16 / 255}
    assert set(frame[frame.metric == "accuracy (%)"]["scope"]) == {""}
    ranked = frame[frame["rank"].notna()]
    assert ranked.best.equals((ranked["rank"] == 1).astype("bool"))


def test_a_single_run_has_one_table_without_a_name(sweep_of_radii: Path) -> None:
    folder = sweep_of_radii / "eps-4-255"
    frame = attrobust.results(str(folder))
    check_equal(frame, folder)
    assert set(frame.table) == {""}


@pytest.mark.parametrize("name", ["run_schema_2", "run_schema_3"])
def test_runs_of_earlier_versions_are_read(name: str, tmp_path: Path) -> None:
    assert main(["report", str(REFERENCE / name), "--export", "csv", "--out", str(tmp_path)]) == 0
    check_equal(attrobust.results(REFERENCE / name), tmp_path)


def test_types_are_those_of_the_numbers(sweep_of_radii: Path) -> None:
    frame = attrobust.results(sweep_of_radii)
    for name in ("seed", "epochs", "images", "undefined", "feasible", "seeds", "rank"):
        assert frame[name].dtype == "Int64"
    for name in ("eps", "mean", "ci_low", "ci_high", "seed_error", "worst", "median"):
        assert frame[name].dtype == "float64"
    for name in ("baseline", "higher_is_better", "best"):
        assert frame[name].dtype == "bool"
    texts = frame.select_dtypes(exclude=["number", "bool"])
    assert texts.notna().all().all()


def test_the_mean_of_scores_is_the_number_of_the_table_before_rounding(sweep_of_radii: Path) -> None:
    frame, scores = attrobust.results(sweep_of_radii), attrobust.scores(sweep_of_radii)
    texts = {name: "str" for name in PLACE if name != "seed"}
    for subset, chosen in (("all", scores), ("common", scores[scores.common])):
        means = chosen.astype(texts).groupby(PLACE, dropna=False).score.agg(["mean", "size"]).reset_index()
        found = frame[frame.subset == subset].merge(means, on=PLACE, how="left", suffixes=("", "_scores"))
        known = found[found["mean"].notna()]
        assert len(known) > 50
        # Half a digit of what is printed: 0.05 % or 0.0005.
        scale = np.where(known.metric.str.endswith("(%)"), 0.05, 0.0005)
        assert (abs(known["mean"] - known["mean_scores"]) <= scale + 1e-9).all()
        assert (known["images"] == known["size"]).all()


def test_scores_of_a_failed_cell_are_missing_and_its_number_is_so(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom attrobust import Similarity, register_metric\n\n\n"
        '@register_metric("broken")\n@dataclass(frozen=True, kw_only=True)\nclass Broken(Similarity):\n'
        "    higher_is_better = True\n    bounds = (0, 1)\n\n"
        "    def compare(self, first, second):\n        if len(first) > 4:\n            raise ValueError('no')\n"
        "        return first.flatten(1).sum(1).double() * 0\n"
    )
    folder = tmp_path / "run"
    words = ["--plugin", str(plugin), "--methods", "natural", "--accuracy-attack", "none", "--no-audit"]
    scored = [word if "topk" not in word else f"{word},broken" for word in SCORED]
    assert main([*words, *scored, *ATTACKED, "--workers", "1", "--out", str(folder)]) == 1
    frame, scores = attrobust.results(folder), attrobust.scores(folder)
    failed = frame[frame.status == "failed"]
    assert set(failed.metric) == {"Broken"}
    assert failed["mean"].isna().all()
    assert "Broken" not in set(scores.metric)
    check_equal(frame, folder)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    for read in (attrobust.results, attrobust.scores):
        for folder in (tmp_path, tmp_path / "nothing"):
            with pytest.raises(UsageError, match="holds no run") as caught:
                read(folder)
            assert "\n" not in str(caught.value)
        with pytest.raises(UsageError, match="name the folder of a run"):
            read()


def test_an_unfinished_sweep_says_which_run_is_missing(tmp_path: Path, sweep_of_radii: Path) -> None:
    (tmp_path / "sweep.json").write_bytes((sweep_of_radii / "sweep.json").read_bytes())
    with pytest.raises(UsageError, match=r"eps 4/255 has not begun, eps 16/255 has not begun") as caught:
        attrobust.results(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_package_imports_neither_pandas_nor_matplotlib_and_results_no_torch(sweep_of_radii: Path) -> None:
    code = (
        "import sys, attrobust\nassert not {'pandas', 'matplotlib', 'numpy', 'torch'} & set(sys.modules)\n"
        "attrobust.results(sys.argv[1])\nattrobust.scores(sys.argv[1])\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)\n"
    )
    words = [sys.executable, "-c", code, str(sweep_of_radii)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
