"""One loop: deterministic, resumable without a trace, and it learns real digits."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attrobust.benchmark.data.base import ArraySplit, Loaded
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training import loop as training
from attrobust.benchmark.training.loop import TrainingError, correct, fresh_network, train
from attrobust.benchmark.training.recipe import Recipe, load_recipe
from attrobust.methods.aga import AGA
from attrobust.methods.base import Method
from attrobust.methods.natural import Natural
from attrobust.methods.softplus import Softplus

CPU = torch.device("cpu")
SMALL = LeNet(width=8, hidden=16)
RECIPE = Recipe(epochs=3, batch_size=128, learning_rate=3e-3, clip=1.0, augment="crop-flip")


@pytest.fixture(scope="module")
def part(coarse: Loaded) -> Loaded:
    """A third of the training digits."""
    split = coarse.splits["train"]
    few = ArraySplit(split.pixels(range(400)), split.labels[:400])
    return dataclasses.replace(coarse, splits={**coarse.splits, "train": few})


def run(method: Method, data: Loaded, folder: Path, recipe: Recipe = RECIPE, seed: int = 0) -> dict[str, torch.Tensor]:
    trained = train(method, SMALL, data, recipe, seed=seed, device=CPU, resume=folder / "state.resume")
    return copy.deepcopy(trained.model.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("method", [Natural(), AGA()], ids=["natural", "aga"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_killed_after_an_epoch_and_resumed_gives_the_same_weights(
    method: Method, optimizer: str, part: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = run(method, part, tmp_path / "a", recipe)
    save = training.save_state

    def dies(path: Path, value: dict[str, object]) -> None:
        save(path, value)
        if value["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        run(method, part, tmp_path / "b", recipe)
    monkeypatch.setattr(training, "save_state", save)
    torch.rand(7)
    assert same(run(method, part, tmp_path / "b", recipe), whole)


def test_a_damaged_state_is_set_aside_and_training_starts_anew(part: Loaded, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    whole = run(Natural(), part, tmp_path / "a")
    training.save_state(tmp_path / "other", {"model": {}})
    state = (tmp_path / "a" / "state.resume").read_bytes()
    changed = bytearray(state)
    changed[len(state) // 2] ^= 1
    for damage in (
        (tmp_path / "other").read_bytes(),
        b"",
        b"PK",
        state[:-100],
        bytes(changed),
    ):
        (tmp_path / "a" / "state.resume").write_bytes(damage)
        assert same(run(Natural(), part, tmp_path / "a"), whole)


def test_the_seed_decides_the_weights_and_global_randomness_does_not(part: Loaded, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    state = torch.random.get_rng_state()
    first = run(Natural(), part, folders[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert same(run(Natural(), part, folders[1]), first)
    assert not same(run(Natural(), part, folders[2], seed=1), first)


def test_methods_start_from_the_same_weights(digits: Loaded) -> None:
    natural, softplus = (fresh_network(method, SMALL, digits, 5) for method in (Natural(), Softplus()))
    assert same(natural.state_dict(), softplus.state_dict())


def test_the_best_validation_epoch_is_kept_and_the_latest_among_equals(
    part: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.75, 0.75, 0.25])
    states: list[dict[str, torch.Tensor]] = []

    def fake(model: nn.Module, *_: object) -> torch.Tensor:
        states.append(copy.deepcopy(model.state_dict()))
        return torch.tensor([next(scores)])

    monkeypatch.setattr(training, "correct", fake)
    recipe = dataclasses.replace(RECIPE, epochs=4)
    trained = train(Natural(), SMALL, part, recipe, seed=0, device=CPU, resume=tmp_path / "r")
    assert (trained.epoch, trained.accuracy) == (3, 0.75)
    assert same(trained.model.state_dict(), states[2])


def test_real_digits_are_learned(digits: Loaded, tmp_path: Path) -> None:
    recipe = dataclasses.replace(load_recipe("digits"), epochs=8)
    trained = train(Natural(), SMALL, digits, recipe, seed=0, device=CPU, resume=tmp_path / "r")
    assert correct(trained.model, digits.splits["test"], 300, CPU).double().mean() > 0.9


class InFloat64(nn.Module):
    """A network that computes in float64 whatever it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(x.double())
        return logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noted(Natural):
    """Natural training in float64 that notes its batches and lets biases be free of weight decay."""

    batches: tuple[list[tuple[torch.Tensor, torch.Tensor]], ...] = ([],)

    def prepare(self, model: nn.Module) -> nn.Module:
        return InFloat64(model)

    def decays(self, name: str) -> bool:
        return not name.endswith("bias")

    def loss(self, model: nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.batches[0].append((x, y))
        return super().loss(model, x, y, generator)


def by_hand(model: nn.Module, method: Noted, recipe: Recipe) -> dict[str, torch.Tensor]:
    """The weights after the noted batches, each optimiser written out from its equations."""
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in weights.items()}
    second = {name: torch.zeros_like(value) for name, value in weights.items()}
    count, clipped = len(method.batches[0]), list[bool]()
    for number, (x, y) in enumerate(method.batches[0]):
        done = number / count
        rising, falling = 0.04 + 0.96 * done / 0.3, (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
        rate = recipe.learning_rate * (rising if done < 0.3 else falling)
        attached = {name: value.clone().requires_grad_() for name, value in weights.items()}
        log_shares = torch.func.functional_call(model, attached, (x,)).log_softmax(dim=1)
        loss = -log_shares[torch.arange(len(y)), y].mean()
        slopes = dict(zip(attached, torch.autograd.grad(loss, list(attached.values())), strict=True))
        length = math.sqrt(sum(float(slope.square().sum()) for slope in slopes.values()))
        clipped.append(length > recipe.clip)
        for name, weight in weights.items():
            decay = 0.0 if name.endswith("bias") else recipe.weight_decay
            slope = slopes[name] * min(1.0, recipe.clip / (length + 1e-6))
            start = weight
            if recipe.optimizer == "adamw":
                start = weight * (1 - rate * decay)
            else:
                slope = slope + decay * weight
            if recipe.optimizer == "sgd":
                first[name] = 0.9 * first[name] + slope
                step = slope + 0.9 * first[name]
            else:
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                mean, square = first[name] / (1 - 0.9 ** (number + 1)), second[name] / (1 - 0.999 ** (number + 1))
                step = mean / (square.sqrt() + 1e-8)
            weights[name] = start - rate * step
    assert any(clipped) and not all(clipped)
    return weights


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_steps_are_those_of_the_optimisers_equations(optimizer: str, part: Loaded, tmp_path: Path) -> None:
    """Rate, clip, decay of some parameters and momentum, over an epoch of real digits."""
    recipe = Recipe(
        epochs=1,
        batch_size=50,
        optimizer=optimizer,  # type: ignore[arg-type]
        learning_rate=0.05 if optimizer == "sgd" else 3e-3,
        weight_decay=0.1,
        clip=0.2,
    )
    method, family = Noted(batches=([],)), LeNet(width=2, hidden=8)
    trained = train(method, family, part, recipe, seed=0, device=CPU, resume=tmp_path / "r")
    assert len(method.batches[0]) == 8
    found = dict(trained.model.named_parameters())
    wanted = by_hand(fresh_network(method, family, part, 0), method, recipe)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("augment", "reach", "mirrors"), [("none", 0, 1), ("flip", 0, 2), ("crop-flip", 4, 2)])
def test_every_epoch_shows_every_image_once_in_another_order_mirrored_and_shifted_at_random(
    augment: str, reach: int, mirrors: int, digits: Loaded, tmp_path: Path
) -> None:
    count, epochs, side = 24, 12, 2 * reach + 1
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    split = ArraySplit(pixels, torch.zeros(count, dtype=torch.int64))
    noise = dataclasses.replace(digits, splits={**digits.splits, "train": split})
    recipe = Recipe(epochs=epochs, batch_size=8, learning_rate=1e-3, augment=augment)  # type: ignore[arg-type]
    method = Noted(batches=([],))
    train(method, LeNet(width=1, hidden=1), noise, recipe, seed=0, device=CPU, resume=tmp_path / "r")
    shown = torch.cat([x for x, _ in method.batches[0]])
    originals = split.batch(range(count))[0]
    variants = torch.stack(
        [
            F.pad(image, (reach,) * 4)[..., top : top + originals.shape[2], left : left + originals.shape[3]]
            for image in (originals, originals.flip(3))[:mirrors]
            for top in range(side)
            for left in range(side)
        ]
    )
    places = torch.cat([(variants == image).flatten(2).all(dim=2).nonzero() for image in shown])
    assert len(places) == count * epochs, "every image shown is exactly one variant of one original"
    order = places[:, 1].view(epochs, count)
    assert torch.equal(order.sort(dim=1).values, torch.arange(count).expand(epochs, -1))
    assert len({tuple(row.tolist()) for row in order}) == epochs
    mirrored, top, left = (places[:, 0] // side**2, places[:, 0] // side % side, places[:, 0] % side)
    assert set(top.tolist()) == set(left.tolist()) == set(range(side))
    share = float(mirrored.double().mean())
    assert 0.4 < share < 0.6 if mirrors == 2 else share == 0


def test_a_loss_that_is_not_finite_is_an_error_with_its_epoch(part: Loaded, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Diverges(Natural):
        def loss(self, model: nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return super().loss(model, x, y, generator) * float("nan")

    with pytest.raises(TrainingError, match="became nan in epoch 1"):
        run(Diverges(), part, tmp_path)


def test_the_one_cycle_schedule_warms_up_and_falls_to_nothing() -> None:
    recipe = Recipe(epochs=1, batch_size=1, learning_rate=1.0)
    rates = [recipe.rate(step / 100) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[30] == 1.0
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] < 1e-3
    steps = Recipe(epochs=1, batch_size=1, learning_rate=1.0, schedule="steps")
    assert [steps.rate(p) for p in (0.0, 0.49, 0.5, 0.75)] == pytest.approx([1, 1, 0.1, 0.01])


@pytest.mark.parametrize(("size", "wanted"), [(8, [60]), (224, [20, 20, 20])])
def test_images_are_classified_in_batches_of_bounded_memory(size: int, wanted: list[int]) -> None:
    split = ArraySplit(torch.zeros(60, 1, size, size, dtype=torch.uint8), torch.zeros(60, dtype=torch.int64))
    model, batches = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), []
    model.register_forward_hook(lambda _module, inputs, _output: batches.append(len(inputs[0])))
    assert correct(model, split, 60, CPU).all()
    assert batches == wanted
