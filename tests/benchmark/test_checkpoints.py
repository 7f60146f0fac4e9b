"""Shipped weights: complete, whole, as good as their cards say, and matched to what is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from attrobust import UsageError, load
from attrobust.benchmark import data, models
from attrobust.benchmark.checkpoints import card as cards
from attrobust.benchmark.checkpoints import find
from attrobust.benchmark.checkpoints.card import SHIPPED, WeightCard, shipped
from attrobust.benchmark.checkpoints.find import find_shipped, find_trained, matches, train_into
from attrobust.benchmark.data.base import Dataset, Loaded
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import correct
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.methods import registry as methods
from attrobust.methods.base import SCRATCH, Method
from attrobust.naming.component import Component, resolve_one
from attrobust.naming.spec import Spec

CPU = torch.device("cpu")


def method_of(name: str, settings: Mapping[str, str]) -> Component[Method]:
    return resolve_one(methods, str(Spec(name, settings)), Method)


def job(name: str, digits: Loaded, **changes: object) -> TrainingJob:
    recipe = load_recipe("digits")
    method = method_of(name, recipe.methods.get(name, {}))
    start = method.item.start
    settings: dict[str, object] = {
        "method": method,
        "start": None if start == SCRATCH else method_of(start, recipe.methods.get(start, {})),
        "model": resolve_one(models.registry, "lenet:width=16,hidden=64", ModelFamily),
        "dataset": resolve_one(data.registry, "digits", Dataset),
        "recipe": recipe,
        "seed": 0,
    }
    return TrainingJob.on(**({"data": digits} | settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", methods.names())
def test_a_row_of_the_default_protocol_needs_no_training(name: str, digits: Loaded) -> None:
    found = find_shipped(job(name, digits))
    assert found is not None
    assert found.card.method["name"] == name


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("digits/")])
def test_digits_weights_are_as_good_on_validation_images_as_their_card_says(name: str, digits: Loaded) -> None:
    card = WeightCard.read(shipped()[name])
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
        job("aga", digits, method=resolve_one(methods, "aga:eps=16/255,cosd=0.5", Method)),
        job("aga", digits, model=resolve_one(models.registry, "lenet:width=16,hidden=65", ModelFamily)),
        job("aga", digits, recipe=load_recipe("digits", epochs=19)),
        job("aga", digits, data=dataclasses.replace(digits, splits={**digits.splits, "train": digits.splits["val"]})),
        job("aga", digits, data=dataclasses.replace(digits, mean=(0.5,))),
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
    assert not matches(old, job("aga", digits, method=resolve_one(methods, "aga:eps=16/255,delta=gaussian", Method)))


def test_damaged_weights_and_cards_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    source = SHIPPED / "digits"
    (folder / "aga.toml").write_bytes((source / "aga.toml").read_bytes())
    (folder / "aga.pt").write_bytes((source / "aga.pt").read_bytes()[:-1])
    monkeypatch.setattr(cards, "SHIPPED", tmp_path)
    with pytest.raises(UsageError, match="not what its card says"):
        load("digits/aga")
    (folder / "aga.toml").write_text("sha256 = ")
    with pytest.raises(UsageError, match="not a weight card"):
        load("digits/aga")
    with pytest.raises(UsageError, match=r"'digits/none'\. Did you mean 'digits/aga'\? Known: digits/aga"):
        load("digits/none")


def test_a_setting_of_none_is_not_a_setting_that_is_missing(digits: Loaded) -> None:
    card = WeightCard.read(SHIPPED / "digits" / "pgd-at.toml")
    assert matches(card, job("pgd-at", digits))
    assert not matches(card, job("pgd-at", digits, method=resolve_one(methods, "pgd-at:eps=16/255,step=0.1", Method)))
    stepped = dataclasses.replace(card, method={**card.method, "settings": {**card.method["settings"], "step": 0.1}})
    assert not matches(stepped, job("pgd-at", digits))


def test_what_a_kill_or_a_user_spoilt_is_trained_again(
    digits: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dataclasses.replace(load_recipe("digits"), epochs=1)
    small = job(
        "natural", digits, recipe=few, model=resolve_one(models.registry, "lenet:width=2,hidden=4", ModelFamily)
    )
    cpu = torch.device("cpu")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WeightCard, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            train_into(small, digits, tmp_path, cpu)
    assert find_trained(small, tmp_path) is None
    whole = train_into(small, digits, tmp_path, cpu)
    again = find_trained(small, tmp_path)
    assert again is not None
    assert again.card.sha256 == whole.card.sha256
    bytes_before = whole.weights.read_bytes()
    for damage in (b"spoilt", None):
        if damage is None:
            whole.weights.unlink()
        else:
            whole.weights.write_bytes(damage)
        assert find_trained(small, tmp_path) is None
        assert train_into(small, digits, tmp_path, cpu).weights.read_bytes() == bytes_before
    whole.weights.with_suffix(".toml").write_text("sha256 = ")
    assert find_trained(small, tmp_path) is None


SMALL = "lenet:width=2,hidden=4"


def short(name: str, digits: Loaded, **changes: object) -> TrainingJob:
    """A training of a second."""
    few = dataclasses.replace(load_recipe("digits"), epochs=1)
    return job(name, digits, **{"recipe": few, "model": resolve_one(models.registry, SMALL, ModelFamily), **changes})


def exchange(first: Path, second: Path) -> None:
    """Put each of two files in the other's place."""
    ours, theirs = first.read_bytes(), second.read_bytes()
    first.write_bytes(theirs)
    second.write_bytes(ours)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"name": "natural", "seed": 1}, "natural with seed 1; other seed"),
        ({"name": "softplus"}, "softplus with seed 0; other method"),
        ({"name": "natural", "recipe": load_recipe("digits", epochs=2)}, "natural with seed 0; other recipe"),
    ],
)
def test_weights_that_changed_places_with_their_cards_are_not_used_under_the_other_name(
    others: dict[str, Any], said: str, digits: Loaded, tmp_path: Path
) -> None:
    first, second = short("natural", digits), short(**{"digits": digits, **others})
    own, other = (train_into(one, digits, tmp_path, CPU) for one in (first, second))
    for suffix in (".pt", ".toml"):
        exchange(own.weights.with_suffix(suffix), other.weights.with_suffix(suffix))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=rf"is the card of another training \({said}.*put the files of natural"):
        find_trained(first, tmp_path)
    with pytest.raises(UsageError, match="is the card of another training"):
        find_trained(second, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_training_does_not_go_on_from_the_state_of_another(
    digits: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    jobs = [short("natural", digits, seed=seed) for seed in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(find, "save_tensors", dies)
        for one in jobs:
            with pytest.raises(KeyboardInterrupt):
                train_into(one, digits, tmp_path, CPU)
    exchange(*sorted(tmp_path.iterdir()))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for one in jobs:
        with pytest.raises(UsageError, match=r"\.resume is the state of another training"):
            train_into(one, digits, tmp_path, CPU)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
