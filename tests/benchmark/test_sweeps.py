"""Axes that sweep: one command, a run for each combination, one table in which each is ranked by itself."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attrobust.benchmark.checkpoints import find
from attrobust.benchmark.command.main import main
from attrobust.benchmark.request.axes import Combination, combinations, seeds_of
from attrobust.benchmark.store.store import TABLES
from attrobust.types import UsageError

from helpers.runs import COARSE, run, written_rows

Capture = pytest.CaptureFixture[str]
WORDS = [*COARSE, "--methods", "natural,pgd-at:steps=1", "--epochs", "1", "--images", "6", "--no-audit"]
WORDS += ["--explainers", "saliency", "--attacks", "noise:draws=1,topk:steps=1", "--metrics", "cosine,gini"]
WORDS += ["--accuracy-attack", "none", "--baselines", "none"]
EPS = ("2/255", "16/255")
FOLDERS = ("eps-2-255", "eps-16-255")


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A sweep over two radii, and the trainings that it took."""
    folder, trained, train = tmp_path_factory.mktemp("sweep") / "both", list[str](), find.train

    def counting(*args: Any, **options: Any) -> Any:
        trained.append(options["progress"])
        return train(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "train", counting)
        assert main([*WORDS, "--eps", ",".join(EPS), "--out", str(folder)]) == 0
    return folder, trained


@pytest.fixture
def swept(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of the sweep."""
    return Path(shutil.copytree(made[0], tmp_path / "both"))


def without_record(folder: Path, place: Path) -> Path:
    """A folder with the rows and weights of a run, and nothing else of it."""
    names = ("run.json", "log.txt", ".lock", *TABLES)
    return Path(shutil.copytree(folder, place, ignore=shutil.ignore_patterns(*names)))


def test_a_sweep_is_its_runs_row_by_row(swept: Path, tmp_path: Path, capsys: Capture) -> None:
    bodies = []
    for eps, name in zip(EPS, FOLDERS, strict=True):
        # The weights alone, so that every number is computed again.
        shutil.copytree(swept / FOLDERS[0] / "checkpoints", tmp_path / name / "checkpoints")
        assert run([*WORDS, "--eps", eps, "--out", tmp_path / name], capsys)[0] == 0
        assert tables(tmp_path / name) == tables(swept / name)
        bodies += (tmp_path / name / "leaderboard.csv").read_text().splitlines()[1:]
    header, *lines = (swept / "leaderboard.csv").read_text().splitlines()
    assert lines == bodies
    assert header.startswith("protocol,dataset,model,threat,norm,eps,")


def test_nothing_is_trained_twice_and_what_no_attack_decides_is_measured_once(made: tuple[Path, list[str]]) -> None:
    folder, trained = made
    assert sorted(trained) == ["train natural", "train pgd-at:steps=1"]
    first, second = (written_rows(folder / name) for name in FOLDERS)
    clean = {key for key, row in first.items() if not row["cell"]["attack"]}
    assert clean
    assert clean == first.keys() & second.keys()
    assert all(first[key] == second[key] for key in clean), "to the second in which they were computed"


def test_the_csv_is_tidy_and_has_numbers_for_norm_and_radius(swept: Path) -> None:
    table = pd.read_csv(swept / "leaderboard.csv")
    assert set(table.eps) == {2 / 255, 16 / 255}
    assert set(table.norm) == {"linf"}
    key = ["eps", "subset", "method", "seed", "scope", "explainer", "attack", "metric"]
    assert not table.duplicated(key).any()
    moved = table[(table.attack == "topk:steps=1") & (table.subset == "all")].groupby("eps")["mean"].mean()
    assert moved[16 / 255] < moved[2 / 255]


def test_every_table_groups_by_the_axis_in_words(swept: Path, capsys: Capture) -> None:
    code, shown, _ = run(["report", swept, "--full"], capsys)
    assert code == 0
    blocks = [line for line in shown.splitlines() if line.startswith("-- saliency, topk")]
    assert [block.strip("- ") for block in blocks] == [f"saliency, topk:steps=1, eps {eps}" for eps in EPS]
    caption = " ".join(shown.split())
    assert "linf 2/255 and linf 16/255 in pixel units" in caption
    assert caption.count("Protocol quick") == 1
    assert "### saliency, topk:steps=1, eps 2/255" in (swept / "leaderboard.md").read_text()
    source = (swept / "leaderboard.tex").read_text()
    assert [eps for eps in EPS if f"raggedright eps {eps}." in source] == list(EPS)
    labels = [line for line in source.splitlines() if line.startswith("\\label")]
    assert len(labels) == len(set(labels))


def test_report_verify_and_clean_take_a_sweep_as_one(swept: Path, capsys: Capture) -> None:
    wanted = tables(swept)
    code, shown, err = run(["report", swept, "--json"], capsys)
    assert code == 0, err
    assert tables(swept) == wanted
    assert [part["where"] for part in json.loads(shown)["sweep"]] == [f"eps {eps}" for eps in EPS]
    code, shown, _ = run(["verify", swept], capsys)
    assert code == 0, shown
    (swept / "leaderboard.md").write_text(wanted["leaderboard.md"].decode().replace("natural", "unnatural"))
    code, shown, _ = run(["verify", swept], capsys)
    assert code == 1
    assert "leaderboard.md does not say what the rows say" in shown
    code, shown, _ = run(["clean", swept], capsys)
    assert code == 0
    assert shown.count("bytes of attacked images removed") == 2
    code, _, err = run(["report", swept, swept / FOLDERS[0], "--out", swept.parent / "mixed"], capsys)
    assert code == 2
    assert "one is a sweep" in err


def test_shards_of_a_sweep_are_put_together_and_a_missing_one_is_named(
    swept: Path, tmp_path: Path, capsys: Capture
) -> None:
    shards = [tmp_path / "1", tmp_path / "2"]
    for number, place in enumerate(shards, start=1):
        for name in FOLDERS:
            without_record(swept / name, place / name)
        words = [*WORDS, "--eps", ",".join(EPS), "--shard", f"{number}/2", "--out", place]
        assert run(words, capsys)[0] == 0
    assert run(["report", *shards, "--out", tmp_path / "merged"], capsys)[0] == 0
    assert tables(tmp_path / "merged") == tables(swept)
    shutil.rmtree(shards[1] / FOLDERS[1])
    code, _, err = run(["report", *shards, "--out", tmp_path / "other"], capsys)
    assert code == 1
    assert err.startswith("incomplete: eps 16/255: shard 2/2 is missing")
    assert err.count("\n") == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("begun", [False, True])
def test_a_sweep_that_was_interrupted_names_what_is_left_and_the_command(
    begun: bool, swept: Path, capsys: Capture
) -> None:
    words = [*WORDS, "--eps", ",".join(EPS), "--out", str(swept)]
    wanted = tables(swept)
    for name in TABLES:
        (swept / name).unlink()
    shutil.rmtree(swept / FOLDERS[1])
    if begun:
        (swept / FOLDERS[1]).mkdir()
        (swept / FOLDERS[1] / "log.txt").touch()
    what = "is not finished" if begun else "has not begun"
    record = json.loads((swept / "sweep.json").read_text())
    del record["digest"]
    (swept / "sweep.json").write_text(json.dumps(record | {"argv": words}))
    left = f"incomplete: eps 16/255 {what}; go on with: {shlex.join(['run_benchmark.py', *words])}"

    code, out, err = run(["report", swept], capsys)
    assert (code, out, err) == (1, "", f"{left}\n")
    code, out, err = run(["verify", swept], capsys)
    assert (code, err) == (1, "")
    first, *others, last = out.splitlines()
    assert others == ([f"{swept / FOLDERS[1]}: 0 rows recomputed and equal, 0 problems"] if begun else [])
    assert first.startswith(f"{swept / FOLDERS[0]}: ")
    assert first.endswith(" rows recomputed and equal, 0 problems")
    assert last == f"{swept}: {left}"
    code, out, _ = run(["clean", swept], capsys)
    assert (code, out.count("\n")) == (0, 1)

    shutil.rmtree(swept / FOLDERS[0])
    del record["argv"]
    (swept / "sweep.json").write_text(json.dumps(record))
    both = f"eps 2/255 has not begun, eps 16/255 {what}"
    code, out, err = run(["report", swept], capsys)
    assert (code, out) == (1, "")
    assert err == f"incomplete: {both}; the same command again goes on where it stopped\n"
    lines = [*others, f"{swept}: {err.rstrip()}"]
    assert run(["verify", swept], capsys)[:2] == (1, "".join(f"{line}\n" for line in lines))
    if begun:
        assert run(words, capsys)[0] == 0
        assert tables(swept) == wanted
        assert json.loads((swept / "sweep.json").read_text())["argv"] == words


def test_models_and_datasets_sweep_too(tmp_path: Path, capsys: Capture) -> None:
    words = [*WORDS, "--methods", "natural", "--epochs", "1", "--attacks", "noise:draws=1"]
    both = ["--dataset", "digits:size={16,28}", "--model", "lenet:width={4,6},hidden=8"]
    code, shown, _ = run([*words, *both, "--eps", "1/255,2/255", "--dry-run", "--out", tmp_path], capsys)
    assert code == 0
    assert shown.count("to train") == 4
    assert shown.count("shared") == 4
    assert shown.count("1 training,") == 4, "what another run trains is not counted"
    assert "-- digits:size=16, lenet:width=6,hidden=8, eps 1/255" in shown
    assert not [*tmp_path.iterdir()], "nothing is written"
    code, _, err = run([*words, "--dataset", "digits:size={16,28}", "--out", tmp_path], capsys)
    assert code == 0, err
    table = pd.read_csv(tmp_path / "leaderboard.csv")
    assert set(table.dataset) == {"digits:size=16", "digits:size=28"}
    assert set(table.groupby("dataset")["checkpoint"].nunique()) == {1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--eps", "2/255,"], "has an empty value"),
        (["--eps", ""], "has an empty value"),
        (["--eps", "2/255,4/510"], "lists 2/255 twice"),
        (["--eps", "2/255,x"], "'x' is not a number"),
        (["--eps", "2/255,8"], "pixel units"),
        (["--model", "lenet,"], "empty name"),
        (["--model", "lenet,lenet"], "names lenet twice"),
        (["--model", "lenet,lenet:width=32"], "lenet:width=32 is the same as lenet"),
        (["--model", "lenet,lenett"], "unknown model 'lenett'"),
        (["--model", "lenet:width={4,4}"], "lists 4 twice"),
        (["--dataset", "digits,shapess"], "unknown dataset 'shapess'"),
        (["--seeds", "4-0"], "a range counts up, 0-4"),
        (["--seeds", "0-2,1"], "different whole numbers"),
        (["--seeds", "0-"], "whole numbers separated by commas"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_done(
    words: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    code, out, err = run([*WORDS, *words, "--out", tmp_path / "run"], capsys)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_fits_one_of_the_models_is_refused_with_the_other_named(
    swept: Path, tmp_path: Path, capsys: Capture
) -> None:
    weights = next((swept / FOLDERS[0] / "checkpoints").glob("natural*.pt"))
    words = [*WORDS, "--checkpoint", f"mine={weights}", "--model", "lenet:width={4,6},hidden=8"]
    code, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert err.startswith("error: lenet:width=6,hidden=8: ")
    assert "has shape 4×1×3×3, the model needs 6×1×3×3" in err
    assert not (tmp_path / "run").exists()


def test_a_sweep_does_not_take_the_folder_of_a_single_run(swept: Path, capsys: Capture) -> None:
    code, _, err = run([*WORDS, "--eps", ",".join(EPS), "--out", swept / FOLDERS[0]], capsys)
    assert code == 2
    assert "holds a single run; give the sweep another folder" in err


def test_combinations_are_in_the_order_typed_with_the_last_axis_fastest() -> None:
    found = combinations(dataset=None, model="lenet,resnet18", eps="1/255,2/255")
    assert [item.words for item in found] == [
        "lenet, eps 1/255",
        "lenet, eps 2/255",
        "resnet18, eps 1/255",
        "resnet18, eps 2/255",
    ]
    assert combinations(dataset=None, model="lenet:width=4,hidden=8", eps=None) == [
        Combination(model="lenet:width=4,hidden=8")
    ]
    assert found[0].folder == "lenet-eps-1-255"


def test_seeds_are_lists_and_ranges() -> None:
    assert seeds_of("0-4") == (0, 1, 2, 3, 4)
    assert seeds_of("7, 0-1") == (7, 0, 1)
    assert seeds_of("3-3") == (3,)
    with pytest.raises(UsageError, match="counts up, 2-3"):
        seeds_of("3-2")
