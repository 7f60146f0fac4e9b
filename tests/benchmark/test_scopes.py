"""What belongs to an attack, map, network or training has a block of its own; sanity-check baselines never lead."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attrobust.benchmark.command.main import main
from attrobust.benchmark.statistics import over_seeds

from helpers.runs import FAST, SMALL, run

Capture = pytest.CaptureFixture[str]
METRICS = "cosine,insertion,deletion,gini,curvature:iterations=2,roar:levels=50,repeats=2"
BASELINES = ["constant-map of natural", "random-map of natural", "untrained"]
ONCE = ["--epochs", "1", *SMALL]
COARSE = ["--dataset", "digits:size=16", "--model", "lenet:width=8,hidden=16"]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods and all sanity-check baselines, with a metric of every scope."""
    folder = tmp_path_factory.mktemp("scopes") / "run"
    words = ["--methods", "natural,aga", "--images", "6", "--explainers", "saliency", "--attacks", "noise:draws=1"]
    words += ["--metrics", METRICS, "--accuracy-attack", "none", "--recipe", str(short_recipe(folder.parent))]
    words += COARSE
    assert main([*words, "--baselines", "constant-map,random-map,untrained", "--out", str(folder)]) == 0
    return folder


def short_recipe(folder: Path) -> Path:
    """One epoch with the settings of digits, so that networks trained anew cost nothing."""
    path = folder / "short.toml"
    path.write_text('epochs = 1\nbatch_size = 16\nlearning_rate = 0.01\n[methods.aga]\neps = "8/255"\n')
    return path


def test_every_metric_stands_with_what_it_belongs_to(finished: Path) -> None:
    table = pd.read_csv(finished / "leaderboard.csv")
    table = table[(table["subset"] == "all") & table["scope"].notna()]
    places = table.groupby("metric")[["scope", "explainer", "attack"]].first().replace({np.nan: ""})
    assert {name: tuple(place) for name, place in places.T.items()} == {
        "Cosine": ("attack", "saliency", "noise:draws=1"),
        "insertion AUC (mean)": ("map", "saliency", ""),
        "deletion AUC (mean)": ("map", "saliency", ""),
        "Gini index": ("map", "saliency", ""),
        "curvature of the loss": ("network", "", ""),
        "ROAR": ("training", "saliency", ""),
    }
    assert table.groupby("method")["metric"].nunique().eq(6).all()
    assert (table[table["scope"] != "attack"]["feasible"].isna()).all()
    assert table[table["scope"] == "training"]["images"].eq(300).all()


def test_baselines_have_no_ranks(finished: Path, capsys: Capture) -> None:
    table = pd.read_csv(finished / "leaderboard.csv")
    baseline = table["method"].isin(BASELINES)
    assert table["baseline"].eq(baseline).all()
    assert set(table[baseline]["method"]) == set(BASELINES)
    assert table[baseline]["rank"].isna().all()
    assert not table[baseline]["best"].any()
    assert table[~baseline & table["scope"].eq("map") & table["subset"].eq("all")]["rank"].notna().all()
    assert run(["verify", finished], capsys)[0] == 0


def test_a_constant_map_is_last_on_faithfulness_and_an_untrained_network_decides_nothing(
    tmp_path: Path, capsys: Capture
) -> None:
    words = ["--methods", "natural,aga", *FAST, "--metrics", "insertion,deletion"]
    words += ["--baselines", "constant-map,random-map,untrained", "--out", tmp_path / "run"]
    assert run(words, capsys)[0] == 0
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    accuracy = table[table["metric"] == "accuracy (%)"].set_index("method")["mean"]
    assert accuracy["untrained"] < 20
    assert table[table["subset"] == "common"]["images"].min() >= 5
    values = table[(table["subset"] == "all") & (table["scope"] == "map")].set_index(["metric", "method"])["mean"]
    for method in ("natural", "aga", "random-map of natural"):
        assert values["insertion AUC (mean)", "constant-map of natural"] < values["insertion AUC (mean)", method]
        assert values["deletion AUC (mean)", "constant-map of natural"] > values["deletion AUC (mean)", method]


def test_a_constant_map_is_computed_once_and_shares_its_network_with_the_first_row(finished: Path) -> None:
    found = rows(finished)
    natural = next(row["cell"]["checkpoint_sha256"] for row in found)
    constant = [row for row in found if row["cell"]["explainer"].get("name") == "constant"]
    assert {row["cell"]["checkpoint_sha256"] for row in constant} == {natural}
    assert all(sum(row["passes"].values()) <= 12 for row in constant), "there is nothing to attack"
    studied = [row for row in found if row["metric"]["name"] == "roar"]
    for row in studied:
        assert len(row["repeats"]) == 2
        assert np.mean(row["repeats"]) == pytest.approx(row["mean"], abs=1e-12)
        assert row["cell"]["training"]["epochs"] == 1


def test_verify_holds_repeats_to_their_scores(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    found = rows(copied)
    retraining_metric = next(row for row in found if "repeats" in row)
    retraining_metric["repeats"][0] += 0.01
    (copied / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    code, out, _ = run(["verify", copied], capsys)
    assert code == 1
    assert "mean of repeats is stored as" in out


def test_the_same_command_again_trains_and_computes_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    before, table = rows(finished), (finished / "leaderboard.csv").read_bytes()
    monkeypatch.setattr("attrobust.benchmark.executors.batches.judge", None)
    monkeypatch.setattr("attrobust.benchmark.executors.retrainings.evaluate_retraining", None)
    plan = json.loads((finished / "run.json").read_text())
    assert run(plan["argv"], capsys)[0] == 0
    assert rows(finished) == before
    assert (finished / "leaderboard.csv").read_bytes() == table


def test_a_network_whose_study_fails_has_a_failed_row_and_all_its_other_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr("attrobust.benchmark.executors.retrainings.evaluate_retraining", broken)
    words = ["--methods", "natural", *FAST, "--metrics", "cosine,roar"]
    code, out, err = run([*words, "--full", "--out", tmp_path / "run"], capsys)
    assert code == 1
    assert "failed: natural / saliency / roar: RuntimeError: no memory" in err
    assert [row["status"] for row in rows(tmp_path / "run") if row["metric"]["name"] == "cosine"] == ["ok", "ok"]
    assert "failed" in out


def test_a_metric_that_raises_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("attrobust.metrics.complexity.gini.Gini.judge", lambda *_: 1 / 0)
    words = ["--methods", "natural", *FAST, "--metrics", "gini", *ONCE]
    code, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 1
    assert "metric Gini: ZeroDivisionError: division by zero" in err


def test_seeds_of_other_recipes_are_told_apart_and_not_averaged(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural", *FAST, *SMALL, "--metrics", "cosine"]
    trained = {"first": ("0", "1"), "second": ("1", "1"), "longer": ("2", "2")}
    for name, (seed, epochs) in trained.items():
        assert run([*words, "--seeds", seed, "--epochs", epochs, "--out", tmp_path / name], capsys)[0] == 0
    runs = [tmp_path / name for name in trained]
    out = run(["report", *runs[:2], "--out", tmp_path / "alike"], capsys)[1]
    assert "natural, mean of 2 seeds" in out
    out = run(["report", *runs[1:], "--out", tmp_path / "unlike"], capsys)[1]
    assert "mean of" not in out
    told = re.findall(r"^natural \((.*?)\) \(seed (\d)\)", out, flags=re.M)
    assert told[-2:] == sorted(set(told)) == [("1 epoch", "1"), ("2 epochs", "2")]
    table = pd.read_csv(tmp_path / "unlike" / "leaderboard.csv")
    own = table[~table["baseline"]].groupby("method")["epochs"].unique()
    assert {name: [*epochs] for name, epochs in own.items()} == {"natural (1 epoch)": [1], "natural (2 epochs)": [2]}


def test_seeds_are_rows_and_their_mean_says_that_its_spread_is_over_seeds(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural,softplus:beta=30", "--seeds", "0,1,2", *FAST, *COARSE]
    words += ["--recipe", short_recipe(tmp_path), "--out", tmp_path / "run"]
    code, out, _ = run([*words, "--metrics", "cosine"], capsys)
    assert code == 0
    assert "natural, mean of 3 seeds" in out
    assert "± its standard error over the seeds" in " ".join(out.split())
    assert "95 % interval (bootstrap; Wilson's where every score is 0 or 1, as in accuracies)" in " ".join(out.split())
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    board = json.loads(run([*words, "--metrics", "cosine", "--json"], capsys)[1])
    means = [row["mean"] for row in board["rows"] if row["method"] == "natural" and row["attack"] == "topk:steps=2"][:3]
    wanted = over_seeds(means)
    found = next(
        row
        for row in board["over_seeds"]
        if row["method"] == "natural" and row["attack"] == "topk:steps=2" and row["subset"] == "all"
    )
    assert (found["mean"], found["standard_error"], found["seeds"]) == (wanted.mean, wanted.error, 3)
    assert np.std(means, ddof=1) / np.sqrt(3) == pytest.approx(found["standard_error"], rel=1e-12)
    own = table[table["seed"].notna() & (table["scope"] == "attack")]
    assert own["rank"].isna().all(), "seeds of one method do not compete"
    over = table[table["seeds"].notna() & (table["scope"] == "attack") & (table["subset"] == "all")]
    assert over["rank"].notna().all()
    for suffix in ("md", "tex"):
        assert "mean of 3 seeds" in (tmp_path / "run" / f"leaderboard.{suffix}").read_text()


def test_bca_intervals_are_reported_on_request_and_verified(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    plain = (copied / "leaderboard.csv").read_text()
    code, out, _ = run(["report", copied, "--interval", "bca", "--full"], capsys)
    assert code == 0
    assert "95 % interval (BCa bootstrap; Wilson's where" in out
    assert (copied / "leaderboard.csv").read_text() != plain
    assert run(["verify", copied], capsys)[0] == 0
    run(["report", copied, "--interval", "percentile"], capsys)
    assert (copied / "leaderboard.csv").read_text() == plain


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--metrics", "localization"],
            "localization: digits does not know what its images show; use --dataset shapes",
        ),
        (["--metrics", "ssim:preset=agaa"], "ssim has no preset 'agaa'. Did you mean 'aga'?"),
        (["--metrics", "ssim:maps=channels"], "maps=channels has no places"),
        (["--metrics", "ssim:value=5"], "ssim:value=5: value changes nothing beside the other settings; leave it out"),
        (["--methods", "natural,aga:cosd={0.1,1}", "--choose", "ssim:sigma=3"], "sigma changes nothing beside"),
        (["--metrics", "max-sensitivity:radius=8"], "radius=8 must be at most 1 in pixel units (write 8/255, not 8)"),
        (
            ["--baselines", "constant"],
            "--baselines: unknown sanity-check baseline 'constant'. Did you mean 'constant-map'? Use ",
        ),
        (["--baselines", "untrained,untrained"], "names a sanity-check baseline twice"),
        (
            ["--methods", "natural,aga:cosd={0.1,1}", "--choose", "insertion"],
            "Methods are chosen by what an attack does to maps, such as --choose topk",
        ),
        (["--metrics", "roar:levels=50/10"], "levels=50/10 must be rising percentages"),
        (["--metrics", "relative-representation-stability:layer=nope"], "the network has no layer 'nope'."),
        (["--metrics", "certified-cosine:stdev=1e-300"], "stdev=1e-300 must be at least 1e-06"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_before_any_training(
    words: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    code, out, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not out
    assert not (tmp_path / "run").exists()


def test_a_preset_stands_for_its_settings_and_is_listed(capsys: Capture) -> None:
    out = run(["--list", "metrics:ssim"], capsys)[1]
    assert "preset    aga: " in out
    code, _, err = run(["--metrics", "topk:k=20,topk:preset=ssr", "--dry-run"], capsys)
    assert code == 2
    assert "is the same as topk:k=20" in err


def test_localization_is_scored_where_masks_are_known(tmp_path: Path, capsys: Capture) -> None:
    words = ["--dataset", "shapes", "--methods", "natural", *FAST, *ONCE]
    words += ["--metrics", "localization,localization:by=top", "--out", tmp_path / "run"]
    code, out, err = run(words, capsys)
    assert code == 0, err
    assert "saliency, clean maps" in out
    found = [row for row in rows(tmp_path / "run") if row["metric"]["name"] == "localization"]
    assert [0 <= row["mean"] <= 1 for row in found] == [True, True]
