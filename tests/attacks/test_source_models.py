"""Another network for attacks that ask for one: obtained like any other, handed over, and part of the cell."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import attacks, load, methods
from attrobust.attacks.base import Attack, Context
from attrobust.benchmark.checkpoints.card import WeightCard, shipped
from attrobust.benchmark.evaluation.evaluate import evaluate
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.explainers.saliency import Saliency
from attrobust.methods.base import Method
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.threat import ThreatModel

from helpers.runs import FAST, SMALL, WHOLE, run, written_rows

Capture = pytest.CaptureFixture[str]
WORDS = [*FAST[:-1], "borrow,noise:draws=1", "--metrics", "cosine"]
LENT: list[nn.Module | None] = []


@dataclass(frozen=True, kw_only=True)
class Borrow(Attack):
    """One step up the loss of another network.

    Attributes:
        whose: the method that network was trained by.
    """

    whose: str = "natural"

    @property
    def source_model(self) -> str:
        return self.whose

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        if len(x) > 2:  # as are tried before a run
            LENT.append(context.source_model)
        assert context.source_model is not None
        attached = x.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(context.source_model(attached), y), attached)
        return x.detach() + context.threat.eps * context.threat.direction(gradient)


@dataclass(frozen=True, kw_only=True)
class Hopeless(Method):
    """A loss that is never finite."""

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        # What is tried before a run are fewer images.
        return model(x).sum() * (float("nan") if len(x) > 8 else 1.0)


@pytest.fixture(autouse=True)
def _registered() -> None:
    attacks.register("borrow")(Borrow)
    methods.register("hopeless")(Hopeless)
    LENT.clear()


def shipped_sha256(name: str) -> str:
    return WeightCard.read(shipped()[f"digits/{name}"]).sha256


def source_models_of(folder: Path) -> dict[tuple[str, str], str]:
    """By subject and attack, the source model of every cell."""
    found = {}
    for row in written_rows(folder).values():
        method = (row["cell"]["subject"]["method"] or {"name": "mine"})["name"]
        found[method, row["cell"]["attack"].get("name", "")] = row["cell"]["source_model_sha256"]
    return found


def test_the_source_model_is_a_copy_in_evaluation_mode_and_in_the_attacks_precision(
    real_images: tuple[Tensor, Tensor],
) -> None:
    x, y = real_images
    model, source_model = load("digits/aga"), load("digits/natural").double().train()
    weights = {key: value.clone() for key, value in source_model.state_dict().items()}
    rules = Rules(threat=ThreatModel(eps=0.1), reduction="abs-sum", label="predicted", seed=0, batch_size=4)
    found = evaluate(
        model, Saliency(), Borrow(), [Cosine()], Images(x=x, y=y, partners=x), rules, source_model=source_model
    )
    assert len(LENT) == 3
    for lent in LENT:
        assert lent is not None
        assert lent is not source_model
        assert not lent.training
        assert {parameter.dtype for parameter in lent.parameters()} == {torch.float32}
        assert torch.equal(lent(x), load("digits/natural")(x))
    assert source_model.training
    assert all(torch.equal(value, weights[key]) for key, value in source_model.state_dict().items())
    other = evaluate(model, Saliency(), Borrow(), [Cosine()], Images(x=x, y=y, partners=x), rules, source_model=model)
    assert not torch.equal(found.values[0], other.values[0])


def test_a_shipped_source_model_is_used_and_recorded_in_the_cells_that_need_it(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "aga,natural", *WORDS, "--out", tmp_path]
    code, _, err = run(words, capsys)
    assert code == 0, err
    assert "training" not in err
    lent = shipped_sha256("natural")
    assert source_models_of(tmp_path) == {
        (method, attack): lent if attack == "borrow" else ""
        for method in ("aga", "natural")
        for attack in ("", "borrow", "noise")
    }
    code, out, _ = run([*words, "--dry-run"], capsys)
    assert [line.split() for line in out.partition("\n\n")[0].splitlines()[2:]] == [
        ["aga", "0", "shipped", "3/3"],
        ["natural", "0", "shipped", "3/3"],
        ["natural", "0", "shipped", "source", "model", "of", "attacks"],
    ]
    assert run(["verify", tmp_path], capsys)[0] == 0
    LENT.clear()
    assert run(words, capsys)[0] == 0
    assert LENT == []


def test_a_source_model_without_weights_is_trained_in_the_runs_folder_also_for_a_users_checkpoint(
    tmp_path: Path, capsys: Capture
) -> None:
    """By the run's model, whatever the checkpoint's is, and with the seed of the row, 0 for a checkpoint."""
    words = [
        "--checkpoint",
        f"mine={shipped()['digits/natural'].with_suffix('.pt')}:lenet:width=16,hidden=64",
        "--methods",
        "aga",
        "--seeds",
        "1",
    ]
    words += [*WORDS, *SMALL, "--retrain", "--epochs", "1", "--attacks", "borrow", "--out", str(tmp_path / "run")]
    code, out, err = run([*words, "--dry-run"], capsys)
    assert code == 0, err
    assert [line.split() for line in out.partition("\n\n")[0].splitlines()[2:]] == [
        ["aga", "1", "to", "train", "0/2"],
        ["mine", "file", "0/2"],
        ["natural", "0", "to", "train", "source", "model", "of", "attacks"],
        ["natural", "1", "to", "train", "source", "model", "of", "attacks"],
    ]
    assert not (tmp_path / "run").exists()
    code, _, err = run(words, capsys)
    assert code == 0, err
    cards = [WeightCard.read(path) for path in (tmp_path / "run" / "checkpoints").glob("natural*.toml")]
    trained = {card.seed: card.sha256 for card in cards}
    assert source_models_of(tmp_path / "run") == {
        ("aga", ""): "",
        ("aga", "borrow"): trained[1],
        ("mine", ""): "",
        ("mine", "borrow"): trained[0],
    }
    code, out, _ = run([*words, "--dry-run"], capsys)
    assert out.count("2/2") == 2
    assert out.count("trained") == 3


def test_without_its_source_model_an_attack_fails_and_the_others_do_not(tmp_path: Path, capsys: Capture) -> None:
    words = [*WORDS, *SMALL, "--epochs", "1", "--attacks", "borrow:whose=hopeless,noise:draws=1", "--methods", "aga"]
    code, _, err = run([*words, "--out", tmp_path], capsys)
    assert code == 1
    problem = "source model hopeless: training failed: TrainingError: the loss became nan in epoch 1"
    assert f"failed: {problem}" in err.splitlines()
    failed = {row["cell"]["attack"].get("name"): row["error"] for row in written_rows(tmp_path).values()}
    assert failed == {None: "", "borrow": problem, "noise": ""}


@pytest.mark.parametrize(
    ("whose", "message"),
    [("naturall", "source model naturall: unknown method 'naturall'. Did you mean"), ("igr:k=0%", "source model igr")],
)
def test_a_source_model_that_cannot_be_is_named_before_anything_is_trained(
    whose: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    attack = Borrow(whose=whose)
    attacks.registry._found()["borrow"].loaded = type(
        "Named", (Borrow,), {"source_model": property(lambda _: attack.whose)}
    )
    code, _, err = run(["--methods", "aga", *WORDS, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_a_network_is_no_yardstick_for_attacks_on_itself(tmp_path: Path, capsys: Capture) -> None:
    """Following the source model is a white-box attack on the row of that very network."""
    weak = "direct:steps=1,transfer:steps=8"
    words = ["--methods", "natural,aga", "--no-audit", *WHOLE[:-1], weak, "--metrics", "cosine", "--out", tmp_path]
    code, out, err = run([*words, "--images", "8", "--export", "csv"], capsys)
    assert code == 0, err
    flagged = {
        line["method"]
        for line in csv.DictReader((tmp_path / "leaderboard.csv").open())
        if "transfer-beats-attack" in line["flags"]
    }
    assert "natural" not in flagged, out
    scores = {row["cell"]["subject"]["method"]["name"]: row for row in written_rows(tmp_path).values()}
    assert set(scores) == {"natural", "aga"}
