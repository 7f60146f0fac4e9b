"""A view shows a part of a run's table in a folder of its own; named runs stand beside each other."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

from attrobust.benchmark.report import csv
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.view.keep import Keep
from attrobust.benchmark.report.view.names import aliases, split
from attrobust.benchmark.report.view.versions import named
from attrobust.benchmark.store.store import Store
from attrobust.types import Named, UsageError

from helpers.latex import compiled, needs_latex
from helpers.runs import ROOT, run
from helpers.tables import write_table

Capture = pytest.CaptureFixture[str]
BOARD = ROOT / "results" / "digits-v1"
METHODS = ["natural", "aga:cosd=0.1", "aga:cosd=1", "pgd-at", "trades"]
NUMBERS = ["mean", "ci_low", "ci_high", "images", "undefined", "worst", "median"]
PLACE = ["subset", "method", "scope", "explainer", "attack", "metric"]


LISTS = ["rows", "explainers", "attacks", "metrics", "columns", "digits", "rename", "label", "caption", "name"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of five methods with two explainers and two attacks, with its own tables."""
    write_table(tmp_path / "run", METHODS, baselines=("constant-map of natural",))
    assert run_quietly("report", tmp_path / "run") == 0
    return tmp_path / "run"


def run_quietly(*words: str | Path) -> int:
    from attrobust.benchmark.command.main import main

    return main([str(word) for word in words])


def table_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path / "leaderboard.csv", keep_default_na=False, dtype={"rank": str})


def tables(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.glob("leaderboard.*")}


def test_a_view_has_a_folder_of_its_own_and_the_runs_tables_stay(folder: Path, capsys: Capture) -> None:
    before = tables(folder)
    assert run(["report", folder, "--rows", "pgd-at,aga", "--name", "best"], capsys)[0] == 0
    assert tables(folder) == before
    assert set(tables(folder / "views" / "best")) == {f"leaderboard.{suffix}" for suffix in ("csv", "md", "tex", "bib")}
    assert run(["report", folder, "--rows", "aga"], capsys)[0] == 0
    (other,) = {path.name for path in (folder / "views").iterdir()} - {"best"}
    assert other.startswith("view-")
    code, _, err = run(["report", folder, "--rows", "aga", "--out", folder], capsys)
    assert code == 2
    assert "a view does not replace" in err
    assert tables(folder) == before


def test_rows_blocks_and_columns_are_those_asked_for_in_their_order(folder: Path, capsys: Capture) -> None:
    words = ["--rows", "pgd-at,aga:cosd=0.1,natural", "--explainers", "ig,saliency", "--attacks", "topk"]
    code, out, _ = run(["report", folder, *words, "--columns", "l2,accuracy", "--name", "v"], capsys)
    assert code == 0
    table = table_of(folder / "views" / "v")
    assert [*dict.fromkeys(table["method"])] == ["pgd-at", "aga:cosd=0.1", "natural"]
    assert [*dict.fromkeys(table["explainer"])] == ["", "ig", "saliency"]
    assert {*table["attack"]} == {"", "topk"}
    assert [*dict.fromkeys(table["metric"])] == ["accuracy (%)", "l2"]
    titles = [line.strip("- ") for line in out.splitlines() if line.startswith("--")]
    assert titles == ["accuracy", "ig, topk", "saliency, topk"]


@pytest.mark.parametrize("columns", ["accuracy", "accuracy (%)", "under apgd", "under apgd,accuracy"])
def test_accuracies_are_a_table_by_themselves(columns: str, tmp_path: Path, capsys: Capture) -> None:
    baselines = ("constant-map of natural",)
    folder = write_table(tmp_path / "run", METHODS, baselines=baselines, accuracy_attack="apgd").folder
    assert run_quietly("report", folder, "--export", "csv") == 0
    formats = ["--export", "csv,latex,markdown,html,wide,json,bibtex"]
    code, out, err = run(["report", folder, "--columns", columns, *formats, "--name", "v"], capsys)
    assert code == 0, err
    titles = [column.removesuffix(" (%)") + " (%)" for column in columns.split(",")]
    assert [line.strip("- ") for line in out.splitlines() if line.startswith("--")] == ["accuracy"]
    assert [out.index(title) for title in titles] == sorted(out.index(title) for title in titles)
    shown, whole = table_of(folder / "views" / "v"), table_of(folder)
    assert [*dict.fromkeys(shown["metric"])] == titles
    merged = shown.merge(whole, on=PLACE, suffixes=("", " of all"))
    assert len(merged) == len(shown) == len(titles) * (len(METHODS) + 1)
    assert [*merged["mean"]] == [*merged["mean of all"]]
    assert [*merged["rank"]] == [*merged["rank of all"]]
    wide = pd.read_csv(folder / "views" / "v" / "leaderboard.wide.csv", dtype=str)
    assert [column for column in wide if column in {f"apgd, {t}" for t in titles} | {*titles}]
    assert len(wide) == len(METHODS) + 1
    assert "natural" in (folder / "views" / "v" / "leaderboard.tex").read_text()


def test_no_number_of_a_view_moves(folder: Path, capsys: Capture) -> None:
    words = ["--rows", "aga,trades", "--attacks", "topk", "--metrics", "topk", "--subset", "common", "--name", "v"]
    assert run(["report", folder, *words], capsys)[0] == 0
    shown, whole = table_of(folder / "views" / "v"), table_of(folder)
    merged = shown.merge(whole, on=PLACE, suffixes=("", " of all"))
    assert len(merged) == len(shown) == 3 + 3 * 2
    assert {*shown[shown["scope"] != ""]["subset"]} == {"common"}
    for column in (*NUMBERS, "flags", "feasible"):
        assert [*merged[column]] == [*merged[f"{column} of all"]]


def test_ranks_are_those_of_a_run_of_these_rows_and_columns(folder: Path, tmp_path: Path) -> None:
    store = Store(folder)
    plan = store.plan()
    kept = [subject.key for subject in plan.subjects[2:5]]
    view = build([store], keep=Keep(rows=tuple(kept), attacks=("topk",), metrics=("topk",)))
    subjects = plan.subjects[2:5]
    entries = [
        replace(entry, subject=entry.subject - 2)
        for entry in plan.entries
        if 2 <= entry.subject < 5 and entry.attack in ("", "topk") and entry.metric != "l2"
    ]
    small = replace(
        plan, digest="", subjects=subjects, entries=tuple(entries), attacks=plan.attacks[1:], metrics=plan.metrics[:1]
    )
    store.write_plan(small)
    alone = build([store])
    ranks = [[[number.rank for number in line.numbers] for line in group.lines] for group in view.groups]
    assert (
        ranks[:2] == [[[number.rank for number in line.numbers] for line in group.lines] for group in alone.groups][:2]
    )
    assert {rank for group in ranks for line in group for (rank,) in [line]} >= {1, 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "agaa"], "--rows: no 'agaa' in {}. Did you mean 'aga'?"),
        (["--rows", "natural,tradess"], "--rows: no 'tradess' in {}. Did you mean 'trades'?"),
        (["--explainers", "salience"], "--explainers: no 'salience' in {}. Did you mean 'saliency'?"),
        (["--attacks", "zzz"], "--attacks: no 'zzz' in {}. There is noise, topk."),
        (["--metrics", "top-11%"], "--metrics: no 'top-11%' in {}. Did you mean 'top-10%'?"),
        (["--columns", "acuracy"], "--columns: no 'acuracy' in {}. Did you mean 'accuracy'?"),
        (["--columns", "l2", "--metrics", "l2"], "--columns chooses among the metrics too; leave --metrics out"),
        (["--rename", "tradess=x"], "--rename: no 'tradess' in {}. Did you mean 'trades'?"),
        (["--rename", "aga"], "--rename 'aga' is not OLD=NEW"),
        (["--rename", "trades="], "--rename 'trades=' names nothing behind the equals sign"),
        (["--rename", "aga=x"], "--rename: no 'aga' in {}. Did you mean 'aga:cosd=0.1'?"),
        (["--rename", "attack:topq=x"], "--rename: no 'attack:topq' in {}. Did you mean 'attack:topk'?"),
        (["--rename", "metric:noise=x"], "--rename: no 'metric:noise' in {}."),
        (
            ["--rename", "topk=x"],
            "'topk' is the name of an attack and of a metric; say --rename attack:topk=x or --rename metric:topk=x",
        ),
        (["--rename", "ig=x", "--rename", "ig=y"], "--rename 'ig=y': 'ig' has a new name already, 'x'"),
        (["--rename", "ig=x", "--rename", "saliency=x"], "--rename 'saliency=x': another explainer is called 'x'"),
        (["--rename", "l2=top-10%"], "--rename 'l2=top-10%': another metric is called 'top-10%'; choose another name"),
        (["--digits", "x"], "--digits 'x': 'x' is not N or COLUMN=N, with N from 0 to 9"),
        (["--digits", "top-11%=2"], "--digits: no 'top-11%' in {}. Did you mean 'top-10%'?"),
        *(([f"--{option}="], f"argument --{option}: is empty; name something") for option in LISTS),
        *(([f"--{option}", " , "], f"argument --{option}: is empty; name something") for option in LISTS),
        (["--rows", "natural,,aga"], "--rows 'natural,,aga' has an empty name beside a comma"),
        (["--columns", "l2,"], "--columns 'l2,' has an empty name beside a comma"),
        (["--intervals", "smal"], "Did you mean 'small'?"),
        (["--colums", "l2"], "Did you mean '--columns'?"),
        (["--label", "a b"], "--label 'a b' may have letters"),
        (["--name", "../x"], "--name '../x' may have letters"),
        (["--caption", "50% of {"], "is no whole LaTeX"),
        (["--export", "latx"], "--export: unknown format 'latx'. Did you mean 'latex'?"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    folder: Path, words: list[str], said: str, capsys: Capture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, err = run(["report", folder, *words], capsys)
    assert (code, out) == (2, "")
    assert said.format(folder) in err
    assert len(err.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_names_with_commas_are_found_and_short_names_stand_for_all() -> None:
    known = aliases([("1", ["aga:cosd=0.1,eps=8/255", "aga"]), ("2", ["aga:cosd=1", "aga"]), ("3", ["eps=8/255", "e"])])
    assert split("aga:cosd=0.1,eps=8/255,eps=8/255", known, "--rows", "a run") == [
        "aga:cosd=0.1,eps=8/255",
        "eps=8/255",
    ]
    assert known["aga"] == ["1", "2"]
    exact = aliases([("1", ["aga:cosd=1", "aga"]), ("2", ["aga"])])
    assert exact["aga"] == ["2"], "a name of one's own comes before a short one"
    with pytest.raises(UsageError, match="no 'b' in a run"):
        split("aga,b", known, "--rows", "a run")


def test_other_names_and_digits_stand_in_every_format(folder: Path, capsys: Capture) -> None:
    words = [
        "--rename",
        "aga:cosd=1=AGA (ours)",
        "--rename",
        "metric:topk=strong",
        "--rename",
        "natural=plain",
        "--digits",
        "0,l2=4",
    ]
    export = ["--export", "csv,markdown,latex,wide", "--name", "v"]
    code, out, _ = run(["report", folder, *words, *export], capsys)
    assert code == 0
    view = folder / "views" / "v"
    for text in (out, *((view / f"leaderboard.{suffix}").read_text() for suffix in ("csv", "md", "tex", "wide.csv"))):
        assert "AGA (ours)" in text
        assert "aga:cosd=0.1" in text
        assert "strong" in text
        assert "constant-map of plain" in text
    table = pd.read_csv(view / "leaderboard.csv", dtype=str)
    metrics = table[table["mean"].notna()].groupby("metric")["mean"]
    assert metrics.apply(lambda means: {len(mean.partition(".")[2]) for mean in means}).to_dict() == {
        "accuracy (%)": {0},
        "l2": {4},
        "strong (%)": {0},
    }
    assert {*table["attack"].dropna()} >= {"noise", "topk"}, "an attack of the same name keeps it"
    page = ["report", folder, "--rename", "attack:topk=strong", "--export", "html", "--name", "page"]
    assert run(page, capsys)[0] == 0
    assert "strong" in (folder / "views" / "page" / "leaderboard.html").read_text()
    bib = (view / "leaderboard.bib").read_text()
    assert "% method aga" not in bib, "rows of this run are checkpoints"
    assert "% attack topk: ghorbani2019fragile" in bib


def test_intervals_stand_as_asked_in_text(folder: Path, capsys: Capture) -> None:
    _, none, _ = run(["report", folder, "--intervals", "none"], capsys)
    _, pm, _ = run(["report", folder, "--intervals", "pm"], capsys)
    assert "[" not in none.partition("method ")[2]
    assert " ± " in pm.partition("method ")[2]
    assert "Mean over images;" in none


def test_the_wide_csv_has_the_cells_of_the_tidy_one(folder: Path) -> None:
    assert run_quietly("report", folder, "--export", "csv,wide") == 0
    tidy = pd.read_csv(folder / "leaderboard.csv", dtype=str, keep_default_na=False)
    wide = pd.read_csv(folder / "leaderboard.wide.csv", dtype=str, keep_default_na=False)
    assert len(wide) == 2 * (len(METHODS) + 1)
    assert not wide.duplicated(["subset", "method"]).any()
    for _, line in tidy.iterrows():
        parts = [line["metric"]] if not line["scope"] else [line["explainer"], line["attack"], line["metric"]]
        name = ", ".join(filter(None, parts))
        (row,) = wide[(wide["method"] == line["method"]) & (wide["subset"] == line["subset"])].to_dict("records")
        assert [row[name], row[f"{name} [low]"], row[f"{name} [high]"]] == [
            line["mean"],
            line["ci_low"],
            line["ci_high"],
        ]


def test_json_is_a_format_too(folder: Path, capsys: Capture) -> None:
    _, out, _ = run(["report", folder, "--export", "json", "--json"], capsys)
    assert json.loads((folder / "leaderboard.json").read_text()) == json.loads(out)


def other_version(path: Path, **changes: Any) -> Path:
    """A run of two of the methods, with other weights of one, and changes of what its rows share."""
    store = write_table(path, ["natural", "trades"])
    rows = path / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"code": "c"', f'"code": "{changes.pop("code", "c")}"'))
    plan = store.plan()
    subjects = (plan.subjects[0], replace(plan.subjects[1], sha256="f" * 64))
    comparison = replace(plan.comparison, **changes)
    store.write_plan(replace(plan, digest="", subjects=subjects, comparison=comparison))
    return path


def test_comparable_versions_are_ranked_in_one_table(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    new = other_version(tmp_path / "new")
    words = ["report", f"old={folder}", f"new={new}", "--full", "--out", tmp_path / "both"]
    code, out, err = run(words, capsys)
    assert code == 0, err
    table = table_of(tmp_path / "both")
    expected = ["natural", "aga:cosd=0.1 (old)", "aga:cosd=1 (old)", "pgd-at (old)", "trades (old)", "trades (new)"]
    assert [*dict.fromkeys(table["method"])] == [*expected, "constant-map of natural (old)"]
    assert sum(line.startswith("-- saliency, topk") for line in out.splitlines()) == 1
    numbers = table.set_index(PLACE)["mean"]
    for path, version in ((folder, "old"), (new, "new")):
        for _, line in csv_of(path).iterrows():
            if line["subset"] == "all":
                shown = line["method"] if line["method"] == "natural" else f"{line['method']} ({version})"
                assert numbers[("all", shown, *line[PLACE[2:]])] == line["mean"]


def csv_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(csv.render(build([Store(path)]))), keep_default_na=False, dtype={"rank": str})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threat": "linf 8/255"}, ("eps 16/255", "eps 8/255")),
        ({"threat": "l2 1/2"}, ("eps 16/255", "l2 1/2")),
        ({"model": "resnet18"}, ("lenet", "resnet18")),
        ({"dataset": "mnist", "data_sha256": "e", "images": 40}, ("digits", "mnist")),
    ],
)
def test_another_radius_model_or_dataset_is_told_in_words(
    folder: Path, tmp_path: Path, changes: dict[str, Any], words: tuple[str, str], capsys: Capture
) -> None:
    new = other_version(tmp_path / "new", **changes)
    told = ["report", f"old={folder}", f"new={new}", "--full", "--out", tmp_path / "both"]
    code, out, err = run(told, capsys)
    assert code == 0, err
    titles = [line.strip("- ") for line in out.splitlines() if line.startswith("-- saliency, topk")]
    assert titles == [f"saliency, topk, old, {words[0]}", f"saliency, topk, new, {words[1]}"]
    for path in (folder, new):
        means = csv_of(path)
        shown = table_of(tmp_path / "both")
        merged = means.merge(shown, on=[*PLACE, "threat", "dataset", "mean", "rank"], how="left", indicator=True)
        assert set(merged["_merge"]) == {"both"}, "each is ranked as by itself"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code": "other"}, "their scores were computed by other code (c and other); run the older one again"),
        ({"data_sha256": "e"}, "other images"),
        ({"images": 40, "label": "true"}, "other convention of labels, predicted and true"),
        ({"reduction": "max"}, "other reduction of channels, abs-sum and max"),
        ({"keep_prediction": False}, "other rule for predictions, kept and free"),
        ({"seed": 1}, "other seed of the evaluation, 0 and 1"),
        (
            {"explainers": (Named(name="saliency", settings={"a": 1}), Named(name="ig", settings={}))},
            "'saliency' stands",
        ),
    ],
)
def test_what_does_not_compare_is_refused_in_one_line(
    folder: Path, tmp_path: Path, changes: dict[str, Any], said: str, capsys: Capture
) -> None:
    if "explainers" in changes:
        plan = Store(folder).plan()
        own = tuple(Named(name=name, settings={}) for name in ("saliency", "ig"))
        Store(folder).write_plan(replace(plan, digest="", comparison=replace(plan.comparison, explainers=own)))
    new = other_version(tmp_path / "new", **changes)
    code, out, err = run(["report", f"old={folder}", f"new={new}", "--out", tmp_path / "both"], capsys)
    assert (code, out) == (2, "")
    assert f"{folder} (old) does not compare with {new} (new): " in err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "both").exists()


def test_a_run_of_fewer_attacks_has_blocks_of_its_own(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    write_table(tmp_path / "new", ["natural"], attacks=("topk",))
    words = [f"old={folder}", f"new={tmp_path / 'new'}", "--attacks", "topk", "--out", tmp_path / "both"]
    code, out, err = run(["report", *words], capsys)
    assert code == 0, err
    assert [line.strip("- ") for line in out.splitlines() if line.startswith("-- saliency")] == [
        "saliency, topk, old",
        "saliency, topk, new",
    ]


def test_all_runs_have_names_or_none_has(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    code, _, err = run(["report", f"old={folder}", folder, "--out", tmp_path / "both"], capsys)
    assert code == 2
    assert "write NAME=FOLDER for all or none" in err


@needs_latex
def test_views_and_papers_of_two_runs_make_an_article(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["--rows", "natural,aga,trades", "--explainers", "saliency", "--attacks", "topk,auto", "--two-column"]
    board = ["report", BOARD, *words, "--columns", "accuracy,top-10%,Spearman", "--out", tmp_path / "board"]
    assert run(board, capsys)[0] == 0
    assert run(["report", folder, "--two-column", "--out", tmp_path / "mine"], capsys)[0] == 0
    assert run(["report", BOARD, folder, "--export", "bibtex", "--out", tmp_path], capsys)[0] == 0
    sources = {name: (tmp_path / name / "leaderboard.tex").read_text() for name in ("board", "mine")}
    papers = ["leaderboard"]
    assert compiled(tmp_path, sources, two_column=True, papers=papers) == []


def test_a_version_whose_folder_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"new=.*: there is no folder"):
        named([f"new={tmp_path / 'none'}", f"old={tmp_path}"])


def test_a_new_name_is_of_exactly_one_thing_and_leaves_units_and_settings(tmp_path: Path, capsys: Capture) -> None:
    methods = ["natural", "topk", "aga:cosd=1", "aga:cosd=0.1"]
    folder = write_table(tmp_path / "run", methods, attacks=("topk:steps=5", "noise"), accuracy_attack="apgd").folder
    words = ["--rename", "metric:topk=Top tenth", "--rename", "aga:cosd=1=AGA", "--rename", "under apgd=robust (%)"]
    assert run(["report", folder, *words, "--export", "csv", "--name", "v"], capsys)[0] == 0
    table = table_of(folder / "views" / "v")
    assert {*table["metric"]} == {"Top tenth (%)", "l2", "accuracy (%)", "robust (%)"}
    assert {*table["attack"]} == {"", "apgd", "topk:steps=5", "noise", "worst of 2 attacks"}
    assert {*table["method"]} == {"natural", "topk", "AGA", "aga:cosd=0.1"}
    both = ["--rename", "row:topk=Top-k", "--rename", "attack:topk:steps=5=strong"]
    assert run(["report", folder, *both, "--export", "csv", "--name", "w"], capsys)[0] == 0
    table = table_of(folder / "views" / "w")
    assert {*table["method"]} == {"natural", "Top-k", "aga:cosd=1", "aga:cosd=0.1"}
    assert {*table["attack"]} == {"", "apgd", "strong", "noise", "worst of 2 attacks"}
    assert "top-10% (%)" in {*table["metric"]}


def test_runs_of_one_name_are_refused_unless_they_are_shards(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    new = other_version(tmp_path / "new")
    for other in (new, folder):
        words = ["report", f"c={folder}", f"c={other}", "--out", tmp_path / "both"]
        code, out, err = run(words, capsys)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"c={folder} c={other}: 'c' is the name of runs that are no shards of one; give each its own name" in err
        assert not (tmp_path / "both").exists()
