"""Parts of a protocol: each is a run of a sweep with settings of its own, and all are in one table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attrobust.benchmark.checkpoints import find
from attrobust.benchmark.command.asked import asked
from attrobust.benchmark.command.main import main
from attrobust.benchmark.command.options import benchmark_parser
from attrobust.benchmark.request.parts import load_parts
from attrobust.benchmark.store.store import TABLES
from attrobust.types import UsageError

from helpers.runs import run, written_rows

Capture = pytest.CaptureFixture[str]
COMMON = """
version = 1
summary = "For tests."
dataset = "digits:size=16"
model = "lenet:width=4,hidden=8"
images = 6
methods = ["natural", "softplus"]
explainers = ["saliency"]
attacks = ["noise:draws=1", "topk:steps=1"]
metrics = ["cosine", "gini"]
accuracy_attack = "apgd:steps=2"
eps = "8/255"
"""
PARTS = """
[parts.radii]
eps = "2/255,8/255"
baselines = ["constant-map"]

[parts.direct]
attacks = ["direct:steps=2"]
images = 4
accuracy_attack = ""

[parts.inputs]
explainers = ["input-x-gradient"]

[parts.seeds]
methods = ["natural", "softplus"]
seeds = [1, 2]
"""
FOLDERS = ("radii-eps-2-255", "radii-eps-8-255", "direct", "inputs", "seeds")


def written(folder: Path, text: str = COMMON + PARTS) -> Path:
    path = folder / "board.toml"
    path.write_text(text)
    return path


def words_of(protocol: Path, *options: str) -> dict[str, str]:
    """By the words of every run that options ask for, its methods."""
    found = asked(benchmark_parser().parse_args(["--protocol", str(protocol), *options]))
    return {one.words: ",".join(protocol.methods) for one, protocol in found}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A board in a folder, with its protocol beside it, and the trainings that it took."""
    place, trained, train = tmp_path_factory.mktemp("board"), list[str](), find.train

    def counting(*args: Any, **options: Any) -> Any:
        trained.append(options["progress"])
        return train(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "train", counting)
        words = ["--protocol", str(written(place)), "--epochs", "2", "--out", str(place / "board")]
        assert main(words) == 0
    return place, trained


@pytest.fixture
def board(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of the board."""
    written(tmp_path)
    return Path(shutil.copytree(made[0] / "board", tmp_path / "board"))


def test_every_part_is_a_run_in_a_folder_of_its_name(made: tuple[Path, list[str]]) -> None:
    folder = made[0] / "board"
    runs = json.loads((folder / "sweep.json").read_text())["runs"]
    assert tuple(item["folder"] for item in runs) == FOLDERS
    assert [item["part"] for item in runs] == ["radii", "radii", "direct", "inputs", "seeds"]
    assert all((folder / name / "leaderboard.csv").is_file() for name in FOLDERS)


def test_parts_train_no_network_twice_and_measure_once_what_they_have_in_common(
    made: tuple[Path, list[str]],
) -> None:
    place, trained = made
    assert sorted(trained) == ["train natural"] * 3 + ["train softplus"] * 3, "of each seed once"
    wide, others = (written_rows(place / "board" / name) for name in ("radii-eps-8-255", "inputs"))
    accuracies = {key for key, row in others.items() if not row["cell"]["explainer"]}
    assert {row["cell"]["attack"].get("name", "") for row in others.values()} == {"", "apgd", "noise", "topk"}
    assert len(accuracies) == 4, "clean and under apgd, of two networks"
    assert all(wide[key] == others[key] for key in accuracies), "to the second in which they were computed"
    audits = [{path.name for path in (place / "board" / name / "audits").iterdir()} for name in FOLDERS]
    assert audits[1] < audits[3], "at the same radius"
    assert not audits[0] & audits[1], "but not at another"


def test_seeds_of_two_parts_have_the_mean_and_ranks_of_one_run(board: Path, capsys: Capture) -> None:
    one = board.parent / "one"
    for name in ("radii-eps-8-255", "seeds"):
        shutil.copytree(board / name / "checkpoints", one / "checkpoints", dirs_exist_ok=True)
    alone = written(board.parent, COMMON + 'seeds = [0, 1, 2]\nbaselines = ["constant-map"]\n')
    assert run(["--protocol", alone, "--epochs", "2", "--out", one], capsys)[0] == 0
    table = pd.read_csv(board / "leaderboard.csv")
    merged = table[table.part == "radii and seeds"].drop(columns="part").reset_index(drop=True)
    assert merged.seeds.max() == 3
    pd.testing.assert_frame_equal(merged, pd.read_csv(one / "leaderboard.csv"))


def test_blocks_say_which_part_they_are_of_and_what_is_other_in_it(board: Path, capsys: Capture) -> None:
    code, shown, _ = run(["report", board, "--full"], capsys)
    assert code == 0
    lines = shown.splitlines()
    titles = [line.strip("- ") for line in lines if line.startswith("-- saliency") and "worst" not in line]
    assert titles[:4] == [
        "saliency, noise:draws=1, radii, eps 2/255, 6 images",
        "saliency, noise:draws=1, radii and seeds, eps 8/255, 6 images",
        "saliency, topk:steps=1, radii, eps 2/255, 6 images",
        "saliency, topk:steps=1, radii and seeds, eps 8/255, 6 images",
    ]
    assert "saliency, direct:steps=2, direct, eps 8/255, 4 images" in titles
    (caption,) = [line for line in lines if line.startswith("Protocol ")]
    assert "6 and 4 test images, linf 2/255 and linf 8/255" in " ".join(shown.split())
    blocks = lines[lines.index(caption) :]
    heads = [line for line in blocks if line.startswith("method  ") and "accuracy (%)" in line]
    assert ["under apgd" in line for line in heads] == [True, False], "columns a part lacks are not shown"
    assert "natural, mean of 3 seeds" in shown
    labels = [line for line in (board / "leaderboard.tex").read_text().splitlines() if line.startswith("\\label")]
    assert len(labels) == len(set(labels))


def test_the_csv_tells_parts_apart(board: Path) -> None:
    table = pd.read_csv(board / "leaderboard.csv")
    assert set(table.part) == {"radii", "radii and seeds", "direct", "inputs"}
    assert set(table[table.attack == "direct:steps=2"].images.dropna()) >= {4.0}
    key = ["part", "eps", "subset", "method", "seed", "scope", "explainer", "attack", "metric"]
    assert not table.duplicated(key).any()


def test_report_verify_and_the_same_command_find_all_done(board: Path, capsys: Capture) -> None:
    wanted = {name: (board / name).read_bytes() for name in TABLES}
    assert run(["report", board], capsys)[0] == 0
    code, shown, _ = run(["verify", board], capsys)
    assert (code, shown.count(" 0 problems")) == (0, len(FOLDERS)), shown
    words = ["--protocol", board.parent / "board.toml", "--epochs", "2", "--out", board]
    rows = {name: (board / name / "rows.jsonl").read_bytes() for name in FOLDERS}
    assert run([*words, "--dry-run"], capsys)[1].count("0/") == 0
    assert run(words, capsys)[0] == 0
    assert {name: (board / name / "rows.jsonl").read_bytes() for name in FOLDERS} == rows
    assert {name: (board / name).read_bytes() for name in TABLES} == wanted
    shutil.rmtree(board / "seeds")
    code, _, err = run(["report", board], capsys)
    assert code == 1
    assert err.startswith("incomplete: seeds, eps 8/255, 6 images has not begun; go on with: ")


def test_shards_of_a_board_are_put_together(board: Path, capsys: Capture) -> None:
    wanted = {name: (board / name).read_bytes() for name in TABLES}
    shards = [board.parent / "1", board.parent / "2"]
    for number, place in enumerate(shards, start=1):
        ignore = shutil.ignore_patterns("run.json", "log.txt", ".lock", "sweep.json", *TABLES)
        shutil.copytree(board, place, ignore=ignore)
        words = ["--protocol", board.parent / "board.toml", "--epochs", "2", "--shard", f"{number}/2", "--out", place]
        assert run(words, capsys)[0] == 0
    code, _, err = run(["report", *shards, "--out", board.parent / "merged"], capsys)
    assert code == 0, err
    assert {name: (board.parent / "merged" / name).read_bytes() for name in TABLES} == wanted


def test_options_replace_a_setting_in_every_part(tmp_path: Path) -> None:
    board = written(tmp_path)
    assert [*words_of(board, "--images", "3")] == [
        "radii, eps 2/255",
        "radii, eps 8/255",
        "direct, eps 8/255",
        "inputs, eps 8/255",
        "seeds, eps 8/255",
    ]
    assert [*words_of(board, "--eps", "1/255")] == [
        "radii, 6 images",
        "direct, 4 images",
        "inputs, 6 images",
        "seeds, 6 images",
    ]
    found = asked(benchmark_parser().parse_args(["--protocol", str(board), "--images", "4"]))
    assert {protocol.title for _, protocol in found} == {"board v1 (modified: images)"}, "of all parts alike"


def test_methods_keep_to_the_parts_that_have_them(tmp_path: Path, capsys: Capture) -> None:
    board = written(tmp_path)
    assert words_of(board, "--methods", "natural")["seeds, eps 8/255, 6 images"] == "natural"
    capsys.readouterr()
    chosen = words_of(board, "--methods", "aga:cosd=0.1")
    assert len(chosen) == 4
    assert set(chosen.values()) == {"aga:cosd=0.1"}
    assert capsys.readouterr().err == "note: seeds has none of these methods; left out\n"
    assert len(words_of(board, "--seeds", "0")) == 4
    assert "seeds adds nothing to the other parts" in capsys.readouterr().err


def test_some_parts_alone(tmp_path: Path) -> None:
    board = written(tmp_path)
    assert [*words_of(board, "--parts", "seeds,direct")] == ["direct, 4 images", "seeds, 6 images"]
    assert [*words_of(board, "--parts", "direct")] == ["direct"]


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ("[parts.a]\nimagess = 3", [], "parts.a: unknown key 'imagess'. Did you mean 'images'?"),
        ("[parts.a]\nversion = 3", [], "parts.a: unknown key 'version'"),
        ("[parts.a]\ndataset = 'shapes'", [], "parts.a: unknown key 'dataset'"),
        ("[parts.a]\nimages = 0", [], "parts.a: images=0 must be at least 1"),
        ("[parts.a]\nimages = '3'", [], "parts.a: images must be int"),
        ("[parts.a]\neps = '2/255,'", [], "parts.a: eps '2/255,' has an empty value"),
        ("[parts.a]\neps = 0.1", [], "parts.a: eps must be str"),
        ("[parts.a]\nimages = 3\n[parts.b]\nimages = 3", [], "parts.b is the same as parts.a"),
        ("[parts.'../a']\nimages = 3", [], "parts.../a: a part is a folder; name it with small letters"),
        ("[parts.A]\nimages = 3", [], "parts.A: a part is a folder"),
        ("[parts]\na = 3", [], "parts.a must be a table"),
        ("[parts.a]\nattacks = ['topkk']", [], "unknown attack 'topkk'. Did you mean 'topk'?"),
        (PARTS, ["--parts", "sedds"], "unknown part 'sedds'. Did you mean 'seeds'?"),
        (PARTS, ["--parts", "seeds", "--methods", "aga"], "no part of"),
        (PARTS, ["--methods", "aga:cosd={0.1,1}", "--choose", "cosine"], "--choose takes one part"),
        ("", ["--parts", "a"], "has no parts"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_done(
    parts: str, options: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    words = ["--protocol", written(tmp_path, COMMON + parts), *options, "--out", tmp_path / "run"]
    code, out, err = run(words, capsys)
    assert (code, out, err.count("error: ")) == (2, "", 1), err
    assert message in err
    assert not (tmp_path / "run").exists()


def test_a_protocol_is_listed_with_its_parts(tmp_path: Path, capsys: Capture) -> None:
    code, shown, _ = run(["--list", f"protocols:{written(tmp_path)}"], capsys)
    assert code == 0
    assert shown.startswith("protocol board v1\n\nFor tests.\n")
    assert "part direct\n  attacks           direct:steps=2\n  images            4\n" in shown
    assert run(["--list", "protocols:quicc"], capsys)[2].startswith(
        "error: unknown protocol 'quicc'. Did you mean 'quick'?"
    )


def test_a_protocol_without_parts_is_one_run() -> None:
    (part,) = load_parts("quick")
    assert (part.name, part.selects) == ("", None)
    with pytest.raises(UsageError, match="unknown protocol"):
        load_parts("quickk")
