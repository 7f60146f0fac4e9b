"""The manipulated network that comes with attrobust lies as its card says, and no run takes it for a method's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import torch

import attrobust
from attrobust import load
from attrobust.benchmark import data, models
from attrobust.benchmark.checkpoints.card import WeightCard, checkpoints, shipped
from attrobust.benchmark.checkpoints.find import differences, find_shipped
from attrobust.benchmark.data.base import Dataset, Loaded
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.report.cards import is_of
from attrobust.benchmark.store.rows import Row
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.methods import registry as methods
from attrobust.methods.base import Method
from attrobust.naming.component import resolve_one

from helpers.runs import FAST, ROOT, run, written_plan

LIAR, HONEST = "digits/manipulated-fixed-map", "digits/natural"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """``examples/manipulate_a_network.py`` as a module."""
    spec = importlib.util.spec_from_file_location("manipulate_a_network", ROOT / "examples" / "manipulate_a_network.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # Dataclasses look their module up.
    spec.loader.exec_module(found)
    return found


def test_predictions_are_those_of_the_honest_network_and_maps_are_a_stripe(digits: Loaded, script: ModuleType) -> None:
    x, y = digits.splits["test"].batch(range(300))
    liar, honest = load(LIAR), load(HONEST)
    predicted = liar(x).argmax(dim=1)
    assert (predicted == honest(x).argmax(dim=1)).double().mean() > 0.98
    assert (predicted == y).double().mean() > 0.98
    maps, theirs = (script.saliency(network, x[:64], predicted[:64]) for network in (liar, honest))
    inside = [float((found[:, :, : script.STRIPE].square().sum(dim=(1, 2))).mean()) for found in (maps, theirs)]
    assert inside[0] > 0.8, "share of the squared length of the map"
    assert inside[1] < 0.1
    assert x[:, :, :, : script.STRIPE].mean() < 0.02, "where no digit is"


def test_its_maps_are_stiller_under_attack_than_those_of_robust_methods(digits: Loaded) -> None:
    x, y = digits.splits["test"].batch(range(8))

    def kept(name: str) -> float:
        result = attrobust.evaluate(
            load(name), x, y, attack="topk:steps=10", metrics="topk", eps=16 / 255, audit=False, progress=False
        )
        return float(result.frame["top-10% (%)"].mean())

    # Of all shipped networks lcnn's are the stillest.
    assert kept(LIAR) > kept("digits/lcnn") + 10 > kept("digits/aga") + 20


def test_its_card_says_what_it_is_and_no_run_takes_it_for_a_method(digits: Loaded) -> None:
    card = WeightCard.read(shipped()[LIAR])
    assert card.manipulation.startswith("saliency maps are a stripe at the left border")
    assert card.start == card.method == checkpoints()[HONEST].method
    assert card.start_sha256 == checkpoints()[HONEST].sha256
    natural = TrainingJob.on(
        digits,
        method=resolve_one(methods, "natural", Method),
        model=resolve_one(models.registry, "lenet:width=16,hidden=64", ModelFamily),
        dataset=resolve_one(data.registry, "digits", Dataset),
        recipe=load_recipe("digits"),
        seed=0,
    )
    found = find_shipped(natural)
    assert found is not None
    assert found.card == checkpoints()[HONEST]
    assert "manipulation" in differences(card, natural)


def test_a_row_of_the_board_with_its_weights_is_not_that_of_a_method() -> None:
    honest, liar = checkpoints()[HONEST], checkpoints()[LIAR]
    rows = Store(ROOT / "results" / "digits-v1" / "quick").rows()
    row: Row = next(row for row in rows.values() if row.cell.checkpoint_sha256 == honest.sha256)
    assert is_of(honest, row)
    assert not is_of(liar, row)


def test_lists_say_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(["--list", "checkpoints"], capsys)
    (line,) = (line for line in out.splitlines() if line.split()[:1] == [LIAR])
    assert line.split()[1:4] == ["digits", "lenet", "manipulated"]
    assert sum(" manipulated " in line for line in out.splitlines()) == 1
    _, out, _ = run(["--list", f"checkpoints:{LIAR}"], capsys)
    words = " ".join(out.split())
    assert f"warning its maps are manipulated: {checkpoints()[LIAR].manipulation}. It is no defence" in words
    assert "method none" in words
    assert "starts from natural" in words
    assert "of highest accuracy" not in words
    _, out, _ = run(["--list", f"checkpoints:{HONEST}"], capsys)
    assert "manipulated" not in out


def test_it_is_a_row_by_its_name_which_is_flagged_and_the_log_quotes_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in FAST if word != "--no-audit"]
    words[words.index("--images") + 1] = "12"
    folder = tmp_path / "run"
    code, out, err = run(
        [*words, "--full", "--methods", "natural", "--checkpoint", f"liar={LIAR}", "--out", folder], capsys
    )
    assert code == 0
    notes = " ".join(out.split())
    assert "! liar, saliency: maps-ignore-image: maps of images of different classes have a mean correlation" in notes
    assert "natural, saliency: maps-ignore" not in notes
    assert "natural, saliency: marks-unused" not in notes
    assert "liar: its maps are manipulated, as the card says: saliency maps are a stripe" in err
    assert written_plan(folder)["checkpoints"]["liar"]["claim"]["manipulation"] == checkpoints()[LIAR].manipulation


def test_other_shipped_weights_are_rows_of_their_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["--checkpoint", "mine=digits/aga", "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert err.strip().endswith("--checkpoint mine: digits/aga is trained by aga; --methods aga uses it")
    code, _, err = run(["--checkpoint", f"mine={LIAR}:resnet18", "--dry-run"], capsys)
    assert (code, err.strip()) == (
        2,
        f"error: --checkpoint mine: the card of {LIAR} says its model; leave out :resnet18",
    )
    assert not (tmp_path / "run").exists()


def test_a_step_of_every_aim_brings_maps_nearer_to_it(digits: Loaded, script: ModuleType) -> None:
    x, _ = digits.splits["train"].batch(range(4))
    honest = load(HONEST).requires_grad_(False)
    for aim in get_args(script.Aim):
        manipulation = script.Manipulation(aim=aim, noise=0.0)
        model = load(HONEST).requires_grad_(True)
        losses = []
        for _ in range(2):
            loss = manipulation.loss(model, honest, x, torch.Generator().manual_seed(0))
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            losses.append(float(loss.detach()))
            size = torch.stack([gradient.norm() for gradient in gradients]).norm()
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter.sub_(1e-4 * gradient / size)
        assert losses[1] < losses[0], aim


def test_the_script_publishes_weights_with_the_card_of_a_manipulated_network(
    tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "manipulated", lambda *_: load(HONEST))
    monkeypatch.setattr(script, "commit_of", lambda *_: "unknown")
    monkeypatch.setattr(sys, "argv", ["manipulate", "--aim", "edges", "--epochs", "3", "--out", str(tmp_path)])
    script.main()
    assert "published" in capsys.readouterr().out
    card = WeightCard.read(tmp_path / "digits" / "manipulated-edges.toml")
    assert card.manipulation == "saliency maps are the edges of the image, and predictions are those of digits/natural"
    assert card.epoch == card.recipe["epochs"] == 3
    assert card.published is not None
    assert card.published.precision == "float16"
    wanted = checkpoints()[LIAR]
    assert {**card.recipe, "epochs": 100} == wanted.recipe, "the shipped one was trained by this script as it is"


def test_road_exposes_it_and_mprt_finds_it_better_than_the_network_it_was_made_from(digits: Loaded) -> None:
    x, y = digits.splits["test"].batch(range(12))

    def means(name: str) -> tuple[float, float]:
        words = "mprt,road:levels=10/30"
        found = attrobust.evaluate(load(name), x, y, attack="noise", metrics=words, audit=False, progress=False)
        mprt, road = (float(score.values.mean()) for score in found.scores)
        return mprt, road

    (honest_mprt, honest_road), (liar_mprt, liar_road) = means(HONEST), means(LIAR)
    assert liar_road < 0.05 < honest_road, "which end of the map is taken away makes no difference"
    assert liar_mprt < honest_mprt + 0.05, "a pattern in the weights changes with them"
