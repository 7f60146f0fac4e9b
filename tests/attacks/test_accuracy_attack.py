"""Accuracy under attack: right about the true class before and after, whatever the attack finds."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from attrobust import load
from attrobust.attacks.base import Attack, Context, Results
from attrobust.attacks.pgd import Pgd
from attrobust.benchmark.evaluation.evaluate import accuracy_under_attack
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.benchmark.statistics import wilson
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.threat import ThreatModel

from helpers.runs import FAST, run, write_plan, written_plan, written_rows

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True, kw_only=True)
class Swap(Attack):
    """Another image in the place of each; as a second result the image itself."""

    on_prediction: ClassVar[bool] = True

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return context.partners

    def results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        images = [x, self.run(context, x, y)]
        sources = torch.tensor([[0], [1]]).expand(2, len(x))
        return Results(images=images, members=("itself", "other"), sources=sources)


def rules(eps: float, batch_size: int = 64) -> Rules:
    threat = ThreatModel(eps=eps, keep_prediction=False)
    return Rules(threat=threat, reduction="abs-sum", label="predicted", seed=0, batch_size=batch_size)


@pytest.fixture(scope="module")
def images(real_images: tuple[Tensor, Tensor]) -> Images:
    return Images(x=real_images[0], y=real_images[1], partners=real_images[0].roll(1, 0))


def test_an_image_counts_where_clean_and_every_attacked_image_have_the_true_class(images: Images) -> None:
    model, x = load("digits/natural"), images.x
    y = model(x).argmax(1)
    others = torch.tensor([next(j for j in range(len(y)) if y[j] != y[i]) for i in range(len(y))])
    moved = torch.arange(len(y)) % 2 == 1
    moved[2] = True
    partners = torch.where(moved.view(-1, 1, 1, 1), x[others], x)
    y[2] = y[others[2]]  # A mistake that the attack makes right.
    found = accuracy_under_attack(model, Swap(), Images(x=x, y=y, partners=partners), rules(1.0, 5))
    assert found.values[0].tolist() == (~moved).double().tolist()
    clean_right = torch.arange(len(y)) != 2
    assert torch.equal(found.worst[0][clean_right], moved[clean_right].long())


@pytest.mark.parametrize("batch_size", [5, 64])
def test_it_is_what_the_attack_leaves_right(batch_size: int, images: Images) -> None:
    model = load("digits/natural")
    context = Context(
        model=model,
        explainer=Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=16 / 255, keep_prediction=False),
        ids=range(len(images.y)),
        partners=images.partners,
    )
    attacked = Pgd()(context, images.x, images.y).x
    found = accuracy_under_attack(model, Pgd(), images, rules(16 / 255, batch_size))
    before, after = (model(x).argmax(1) == images.y for x in (images.x, attacked))
    assert found.values[0].tolist() == (before & after).double().tolist()
    assert (after & ~before).any(), "one image is misclassified until it is attacked"
    assert 0 < float(found.values[0].mean()) < 1
    assert found.passes.forward >= 41 * len(images.y)


def test_without_a_ball_it_is_clean_accuracy(images: Images) -> None:
    model = load("digits/natural")
    y = images.y.roll(3)
    found = accuracy_under_attack(model, Pgd(steps=2), Images(x=images.x, y=y, partners=images.partners), rules(0.0))
    assert found.values[0].tolist() == (model(images.x).argmax(1) == y).double().tolist()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from attrobust.benchmark.command.main import main

    folder = tmp_path_factory.mktemp("finished")
    words = ["--methods", "natural,pgd-at", *FAST[:-1], "noise:draws=1", "--images", "20", "--metrics", "cosine"]
    assert main([*words, "--accuracy-attack", "pgd:steps=5", "--out", str(folder)]) == 0
    return folder


def test_it_is_a_cell_of_its_own_on_the_attacked_images(finished: Path) -> None:
    rows = [row for row in written_rows(finished).values() if row["metric"]["name"] == "robust-accuracy"]
    assert len(rows) == 2
    for row in rows:
        cell = row["cell"]
        assert cell["explainer"] == {}
        assert cell["attack"] == {"name": "pgd", "settings": {"steps": 5, "step": 0.1}}
        assert cell["threat"] == {"norm": "linf", "eps": 16 / 255, "keep_prediction": False}
        assert cell["images"] == row["n"] == row["n_feasible"] == 20
        assert row["ci"] == pytest.approx(list(wilson(round(20 * row["mean"]), 20)))
    assert rows[0]["mean"] < rows[1]["mean"]


def test_every_table_has_the_column_beside_clean_accuracy(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    code, out, _ = run(["report", finished, "--out", tmp_path], capsys)
    assert code == 0
    rows = [row for row in written_rows(finished).values() if row["metric"]["name"] == "robust-accuracy"]
    shown = [f"{100 * row['mean']:.1f}" for row in rows]
    assert "accuracy (%) ↑" in out
    assert out.index("accuracy (%) ↑") < out.index("under pgd (%) ↑") < out.index("Cosine ↑")
    assert "under pgd:steps=5 on the attacked images" in " ".join(out.split())
    table = pd.read_csv(tmp_path / "leaderboard.csv", dtype=str)
    table = table[table["metric"] == "under pgd (%)"]
    assert table["mean"].tolist() == shown
    assert table["attack"].tolist() == ["pgd:steps=5"] * 2
    assert "| accuracy (%) ↑ | under pgd (%) ↑ |" in (tmp_path / "leaderboard.md").read_text()
    latex = (tmp_path / "leaderboard.tex").read_text()
    assert (
        " & accuracy & under pgd &  \\\\\nMethod & (\\%) $\\uparrow$ & (\\%) $\\uparrow$ & Cosine $\\uparrow$" in latex
    )
    number = r"& (?:\\textbf\{)?([\d.]+)\}?(?:\\textsuperscript\{!\})? \{\\scriptsize \["
    cells = [re.findall(number, line) for line in latex.splitlines()]
    assert [row[1] for row in cells if len(row) > 1] == shown
    found = json.loads(run(["report", finished, "--out", tmp_path, "--json"], capsys)[1])["rows"]
    found = [row for row in found if row["metric"] == "robust-accuracy"]
    assert [row["mean"] for row in found] == [row["mean"] for row in rows]
    assert {(row["explainer"], row["attack"]) for row in found} == {(None, "pgd:steps=5")}


def test_verify_holds_the_column_to_its_rows(finished: Path, capsys: Capture) -> None:
    assert run(["verify", finished], capsys)[0] == 0
    plan = written_plan(finished)
    changed = copy.deepcopy(plan)
    changed["comparison"]["accuracy_attack"]["settings"]["steps"] = 50
    changed["accuracy_attack"]["metric"]["title"] = "under everything (%)"
    write_plan(finished, changed)
    out = run(["verify", finished], capsys)[1]
    write_plan(finished, plan)
    assert "run.json does not say what the rows say: accuracy_attack" in out
    assert "run.json does not say what the rows say: metric" in out


def test_attacks_that_broke_the_rules_are_counted_in_the_notes(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    row = next(row for row in store.rows().values() if row.metric.name == "robust-accuracy")
    assert isinstance(row, ScoredRow)
    scores, feasible = store.load_scores(row)
    sha256 = store.save_scores(row.fingerprint, scores, feasible & (np.arange(20) > 2))
    store.append([replace(row, scores_sha256=sha256)])
    out = run(["report", store.folder], capsys)[1]
    assert "! natural, pgd:steps=5: 3 of 20 attacks were not feasible and count as no attack" in out


def test_none_leaves_the_column_out(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural,pgd-at", *FAST[:-1], "noise:draws=1", "--images", "20", "--metrics", "cosine"]
    code, out, err = run([*words, "--accuracy-attack", "none", "--out", tmp_path], capsys)
    assert code == 0
    assert "under pgd" not in out and "under apgd" not in out
    assert "pgd" not in err.replace("pgd-at", "")
    assert run(["verify", tmp_path], capsys)[0] == 0
    code, _, err = run(["report", finished, tmp_path, "--out", tmp_path / "both"], capsys)
    assert code == 2
    assert "does not compare" in err
    assert "other accuracy_attack" in err
