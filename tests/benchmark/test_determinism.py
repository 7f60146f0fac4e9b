"""What is equal to the byte when a command is typed again, as README says it, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training.batches import epoch_batches
from attrobust.benchmark.training.loop import fresh_network
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.methods.natural import Natural
from attrobust.process import restored

from helpers.runs import COARSE, FAST, run, written_rows

Capture = pytest.CaptureFixture[str]
WORDS = [*COARSE, *FAST, "--epochs", "1", "--images", "4", "--export", "csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def table(folder: Path, name: str, words: list[str], capsys: Capture) -> bytes:
    code, _, err = run([*WORDS, *words, "--out", folder / name], capsys)
    assert code == 0, err
    return (folder / name / "leaderboard.csv").read_bytes()


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").glob("*.pt")}


def test_the_same_command_gives_the_same_weights_scores_and_tables(folder: Path, capsys: Capture) -> None:
    torch.manual_seed(1)
    first = table(folder, "first", ["--methods", "natural,softplus"], capsys)
    torch.manual_seed(2)
    assert table(folder, "second", ["--methods", "natural,softplus"], capsys) == first
    assert weights(folder / "first") == weights(folder / "second") != {}
    scores = [
        {key: row["scores_sha256"] for key, row in written_rows(folder / name).items()} for name in ("first", "second")
    ]
    assert scores[0] == scores[1]


def test_a_row_does_not_depend_on_the_rows_and_columns_beside_it(folder: Path, capsys: Capture) -> None:
    table(folder, "whole", ["--methods", "natural,softplus"], capsys)
    table(folder, "part", ["--methods", "softplus", "--attacks", "topk:steps=2", "--metrics", "cosine"], capsys)
    part, whole = written_rows(folder / "part"), written_rows(folder / "whole")
    assert part.keys() < whole.keys()
    assert all(row["scores_sha256"] == whole[key]["scores_sha256"] for key, row in part.items())


def test_what_is_drawn_does_not_depend_on_the_number_of_threads(coarse: Loaded) -> None:
    def drawn(threads: int) -> list[torch.Tensor]:
        with restored():
            torch.set_num_threads(threads)
            network = fresh_network(Natural(), LeNet(width=4, hidden=8), coarse, seed=3)
            recipe = load_recipe("digits")
            batch = next(iter(epoch_batches(coarse.splits["train"], recipe, 3, 0, torch.device("cpu"))))
            return [*network.state_dict().values(), *batch[:2]]

    assert all(map(torch.equal, drawn(1), drawn(2)))


def test_every_row_says_how_many_threads_computed_it(folder: Path, capsys: Capture) -> None:
    table(folder, "first", ["--methods", "natural,softplus"], capsys)
    threads = {row["provenance"]["threads"] for row in written_rows(folder / "first").values()}
    assert threads == {torch.get_num_threads()} or threads == {1}
