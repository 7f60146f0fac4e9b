"""A sample of a board is computed again from weights: what was stored comes out, and what was forged does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs

from attrobust.benchmark.boards.board import stores_of
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.recompute import OF_MEAN, allowance, of_mean, per_image, recompute, scores_of
from attrobust.benchmark.boards.sample import StoredCell, cells_of, sample
from attrobust.benchmark.checkpoints.card import shipped
from attrobust.benchmark.store.store import Store
from attrobust.naming.validate import as_json

from faults.test_hostile import put_row
from helpers.boards import ATTACK, NAME, copied, row_of, with_scores
from helpers.runs import FAST, run


def cells(results: Path) -> list[StoredCell]:
    return cells_of(stores_of(results / NAME))


def test_every_cell_comes_out_again_to_rounding(published: Path) -> None:
    opener = Opener(published / NAME, None)
    for cell in cells(published):
        chosen = cell.chosen(3)
        again = scores_of(cell, opener, chosen)
        for row, values in zip(cell.rows, again.values, strict=True):
            stored = Store(published / NAME).load(row).scores[chosen.start : chosen.stop]
            np.testing.assert_allclose(values.numpy(), stored, rtol=1e-9, atol=1e-9)
        assert recompute(cell, opener, 3) == []


def test_the_sample_is_the_same_every_time_and_is_spread(published: Path) -> None:
    whole = cells(published)
    taken = sample(whole, 6, images=4)
    assert [cell.key for cell in sample(whole[::-1], 6, images=4)] == [cell.key for cell in taken]
    assert {cell.subject.label for cell in taken} >= {"natural", "aga"}
    assert {cell.attack for cell in taken} == {"", "noise:draws=2", ATTACK, "apgd:steps=2"}
    assert len(sample(whole, 1000, images=4)) == len(whole)
    assert all(cell.images >= cell.chosen(4).stop for cell in whole)


@pytest.mark.parametrize(
    ("attack", "metric", "by", "words"),
    [
        ("noise:draws=2", "spearman", -0.01, "6 of 6 images differ"),
        (ATTACK, "spearman", -0.2, "weaker: the mean of 6 images was"),
        (ATTACK, "normalized-l2", 30.0, "weaker: the mean of 6 images was"),
        (ATTACK, "spearman", 0.2, "the board needs a new version, and CHANGELOG.md a line that says so"),
    ],
)
def test_forged_scores_do_not_come_out_again(
    attack: str, metric: str, by: float, words: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = row_of(results / NAME, attack=attack, metric=metric)
    with_scores(results / NAME, row, (Store(results / NAME).load(row).scores + by).tolist())
    code, out, _ = run(["verify", results / NAME], capsys)
    assert code == 0, out
    code, out, err = run(["verify", results / NAME, "--recompute", "100", "--images", "6"], capsys)
    assert code == 1
    (line,) = [line for line in out.splitlines() if f" / {metric}: " in line]
    assert f"aga (seed 0) / saliency / {attack} / {metric}: " in line
    assert words in line
    assert "1 numbers differ" in out.splitlines()[-1]
    assert f"computing {len(cells(results))} of" in err
    assert " s\n" in err


def test_accuracies_that_were_exchanged_do_not_come_out_again(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = row_of(results / NAME, attack="", metric="accuracy")
    hits = Store(results / NAME).load(row).scores
    of_few = next(cell for cell in cells(results) if cell.rows[0].fingerprint == row.fingerprint)
    others = replace(of_few, rows=(structs.replace(row, seconds=1e9),)).chosen(8)
    forged = hits.copy()
    forged[next(place for place in range(len(hits)) if place not in others)] -= 1
    with_scores(results / NAME, row, np.abs(forged).tolist())
    code, out, _ = run(["verify", results / NAME, "--recompute", "100", "--images", "8"], capsys)
    assert code == 1
    assert f"aga (seed 0) / accuracy / accuracy: 1 of {len(hits)} images differ" in out


def test_forged_facts_do_not_come_out_again(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the right digest: a metric that is turned round, and the share of guessing."""
    row = as_json(row_of(results / NAME, attack="noise:draws=2", metric="spearman"))
    put_row(results / NAME, row | {"metric": row["metric"] | {"higher_is_better": False}})
    row = as_json(next(row for row in Store(results / NAME).rows().values() if row.metric.label == "accuracy"))
    put_row(results / NAME, row | {"guessing": 0.99})
    found = [line for cell in cells(results) for line in recompute(cell, Opener(results / NAME, None), 2)]
    words = [line.what for line in found]
    assert any("higher_is_better was False and is True" in line for line in words), words
    assert any("guessing was 0.99 and is 0.1" in line for line in words), words


def test_weights_that_are_gone_or_changed_are_named(results: Path) -> None:
    (weights,) = (results / NAME / "checkpoints").glob("aga-*.pt")
    (cell,) = [cell for cell in cells(results) if cell.subject.label == "aga" and cell.attack == ATTACK]
    weights.write_bytes(weights.read_bytes() + b"\0")
    (found,) = recompute(cell, Opener(results / NAME, None), 2)
    assert "cannot be computed again: no weights with sha256" in str(found)


def test_other_images_are_named(published: Path) -> None:
    cell = cells(published)[1]
    rows = tuple(structs.replace(row, cell=replace(row.cell, data_sha256="0" * 64)) for row in cell.rows)
    (found,) = recompute(replace(cell, rows=rows), Opener(published / NAME, None), 2)
    assert "the test images of digits here are not those of the board" in str(found)


def test_shipped_weights_and_weights_handed_in_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = torch.load(shipped()["digits/aga"].with_suffix(".pt"), weights_only=True)
    torch.save({name: 1.01 * value for name, value in weights.items()}, tmp_path / "mine.pt")
    words = ["--checkpoint", f"mine={tmp_path / 'mine.pt'}:lenet:width=16,hidden=64,activation=softplus"]
    code, _, err = run([*FAST, *words, "--methods", "natural", "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    code, out, _ = run(["verify", tmp_path / "run", "--recompute", "100", "--images", "2"], capsys)
    assert code == 1
    assert "natural" not in out
    assert "mine / accuracy: cannot be computed again: no weights with sha256" in out
    (tmp_path / "run" / "weights").mkdir()
    shutil.copy(tmp_path / "mine.pt", tmp_path / "run" / "weights")
    code, out, _ = run(["verify", tmp_path / "run", "--recompute", "100", "--images", "2"], capsys)
    assert code == 0, out


def test_fashion_mnist_comes_out_again(fashion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "fashion-mnist", "--model", "lenet:width=4,hidden=8", "--data-root", fashion_root]
    words += ["--methods", "natural", "--epochs", "1", "--out", tmp_path / "run"]
    code, _, err = run([*FAST, *words], capsys)
    assert code == 0, err
    again = ["verify", tmp_path / "run", "--recompute", "10", "--images", "3", "--data-root"]
    code, out, _ = run([*again, fashion_root], capsys)
    assert code == 0, out
    code, out, _ = run([*again, tmp_path], capsys)
    assert code == 1
    assert "cannot be computed again: " in out


def test_verify_without_its_options_imports_no_torch(published: Path) -> None:
    code = (
        "import sys\nfrom attrobust.benchmark.command.main import main\n"
        "assert main(['verify', sys.argv[1]]) == 0\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, published / NAME], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tolerances_are_those_that_are_stated() -> None:
    old = np.array([0.2, 0.4, np.nan, 0.6])
    assert per_image(old, old + 5e-5) == ""
    assert "3 of 4 images differ, e.g. 0.2 is now 0.21" in per_image(old, old + 0.01)
    assert per_image(old, np.nan_to_num(old)) != ""
    allowed = allowance(old, 4, unit=True, binary=False)
    assert allowed == OF_MEAN == 0.02
    assert of_mean(old, old + 0.9 * allowed, allowed, higher_is_better=True) == ""
    assert of_mean(old, old + 1.1 * allowed, allowed, higher_is_better=True).startswith("weaker: ")
    assert of_mean(old, old - 1.1 * allowed, allowed, higher_is_better=True).startswith("stronger: ")
    assert of_mean(old, old + 1.1 * allowed, allowed, higher_is_better=False).startswith("stronger: ")
    # One image in the other direction by as much evens out.
    assert of_mean(old, old + np.array([0.2, -0.2, 0.0, 0.0]), allowed, higher_is_better=True) == ""
    assert of_mean(old[2:3], old[:1], allowed, higher_is_better=True) != ""
    assert allowance(100 * old, 4, unit=False, binary=False) == pytest.approx(25 * np.nanstd(old))
    assert allowance(old * np.nan, 4, unit=False, binary=False) > 0
    assert 1 / 8 < allowance(old, 8, unit=True, binary=True) < 2 / 8


def test_a_copy_of_a_board_elsewhere_comes_out_again(results: Path, tmp_path: Path) -> None:
    moved = copied(results, tmp_path / "elsewhere")
    shutil.rmtree(results)
    assert recompute(cells(moved)[0], Opener(moved / NAME, None), 2) == []
