"""Shipped weights: complete, whole, as good as their cards say, and matched to what is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from attrobust import UsageError, load
from benchmark import data, models, zoo
from benchmark.cards import WeightCard
from benchmark.components import resolve_one
from benchmark.data.base import Loaded
from benchmark.files import file_sha256
from benchmark.recipe import load_recipe
from benchmark.training import correct
from benchmark.zoo import SHIPPED, TrainingJob, find, matches, shipped
from methods import registry as methods

SPINE = ["natural", "softplus", "aga", "hessian", "pgd-at"]


def job(name: str, digits: Loaded, **changes: object) -> TrainingJob:
    recipe = load_recipe("digits")
    defaults = ",".join(f"{key}={value}" for key, value in recipe.methods.get(name, {}).items())
    settings: dict[str, object] = {
        "method": resolve_one(methods, f"{name}:{defaults}" if defaults else name),
        "model": resolve_one(models.registry, "lenet:width=16,hidden=64"),
        "dataset": resolve_one(data.registry, "digits"),
        "data": digits,
        "recipe": recipe,
        "seed": 0,
    }
    return TrainingJob(**(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SPINE)
def test_the_main_job_needs_no_training(name: str, digits: Loaded) -> None:
    found = find(job(name, digits), SHIPPED, any_code=True)
    assert found is not None
    assert found.card.method["name"] == name


@pytest.mark.parametrize(("name", "path"), shipped())
def test_weights_are_what_their_card_says(name: str, path: Path, digits: Loaded) -> None:
    card = WeightCard.read(path)
    assert file_sha256(path.with_suffix(".pt")) == card.sha256
    assert card.licence
    model = load(name)
    split = digits.splits["val"]
    accuracy = float(correct(model, split, len(split), torch.device("cpu")).double().mean())
    assert accuracy == pytest.approx(card.val_accuracy, abs=1 / len(split) + 1e-9)
    assert accuracy > 0.95


def test_any_difference_in_what_is_asked_for_is_another_checkpoint(digits: Loaded) -> None:
    wanted = job("aga", digits)
    card = WeightCard.read(SHIPPED / "digits" / "aga.toml")
    assert matches(card, wanted)
    others = [
        job("aga", digits, seed=1),
        job("hessian", digits),
        job("aga", digits, method=resolve_one(methods, "aga:eps=16/255,cosd=0.5")),
        job("aga", digits, model=resolve_one(models.registry, "lenet:width=16,hidden=65")),
        job("aga", digits, recipe=load_recipe("digits", epochs=19)),
        job("aga", digits, data=dataclasses.replace(digits, splits={**digits.splits, "train": digits.splits["val"]})),
    ]
    assert not any(matches(card, other) for other in others)
    assert len({other.key for other in [wanted, *others]}) == len(others) + 1


def test_a_setting_added_later_does_not_turn_old_weights_away(digits: Loaded) -> None:
    wanted = job("aga", digits)
    card = WeightCard.read(SHIPPED / "digits" / "aga.toml")
    settings = dict(card.method["settings"])
    del settings["delta"]
    old = dataclasses.replace(card, method={**card.method, "settings": settings})
    assert matches(old, wanted)
    assert not matches(old, job("aga", digits, method=resolve_one(methods, "aga:eps=16/255,delta=gaussian")))


def test_damaged_weights_and_cards_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    source = SHIPPED / "digits"
    (folder / "aga.toml").write_bytes((source / "aga.toml").read_bytes())
    (folder / "aga.pt").write_bytes((source / "aga.pt").read_bytes()[:-1])
    monkeypatch.setattr(zoo, "SHIPPED", tmp_path)
    with pytest.raises(UsageError, match="its card says"):
        load("digits/aga")
    (folder / "aga.toml").write_text("sha256 = ")
    with pytest.raises(UsageError, match="not a weight card"):
        load("digits/aga")
    with pytest.raises(UsageError, match=r"unknown checkpoint 'digits/none'\. Known: digits/aga"):
        load("digits/none")
