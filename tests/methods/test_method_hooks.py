"""What a method may ask of the harness: a start, several steps a batch, gaze maps, settings by dataset and model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.checkpoints.find import find_trained, matches, train_into
from attrobust.benchmark.data import registry as datasets
from attrobust.benchmark.data.base import Dataset, Loaded, image_facts
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.benchmark.models import registry as models
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.request.methods import Defaults, resolve_methods
from attrobust.benchmark.request.protocol import load_protocol
from attrobust.benchmark.training import loop as training
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import TrainingError, fresh_network, train
from attrobust.benchmark.training.recipe import Recipe, load_recipe
from attrobust.methods import registry as methods
from attrobust.methods.advgrad import AdvGrad
from attrobust.methods.base import Batch, Method
from attrobust.methods.natural import Natural
from attrobust.methods.softplus import Softplus
from attrobust.naming.component import resolve_one
from attrobust.naming.spec import Spec
from attrobust.types import Cost

from helpers.requests import request_of
from helpers.runs import FAST, run

Capture = pytest.CaptureFixture[str]
CPU = torch.device("cpu")
SMALL = LeNet(width=4, hidden=8)
SHORT = Recipe(epochs=2, batch_size=600, learning_rate=1e-3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twice(Natural):
    """Two steps a batch, and a record of what the loop offers."""

    seen: list[Batch] = dataclasses.field(default_factory=list)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        self.seen.append(batch)
        before = copy_of(model)
        yield F.cross_entropy(model(batch.x), batch.y)
        assert not torch.equal(before, copy_of(model)), "the optimiser steps between two losses"
        yield F.cross_entropy(model(batch.x), batch.y)


def copy_of(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def test_the_loop_steps_after_every_loss_and_says_how_far_it_is(coarse: Loaded, tmp_path: Path) -> None:
    method = Twice()
    train(method, SMALL, coarse, SHORT, seed=0, device=CPU, resume=tmp_path / "r")
    assert [batch.progress for batch in method.seen] == [0.0, 0.25, 0.5, 0.75]
    assert all(batch.start is None and batch.gaze is None for batch in method.seen)


def test_a_batch_without_a_loss_is_an_error_and_not_an_untrained_network(coarse: Loaded, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class NoLosses(Natural):
        def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
            yield from ()

    with pytest.raises(TrainingError, match=r"NoLosses\.losses must yield at least one loss"):
        train(NoLosses(), SMALL, coarse, SHORT, seed=0, device=CPU, resume=tmp_path / "r")


def test_training_goes_on_from_the_weights_it_is_given(coarse: Loaded, tmp_path: Path) -> None:
    network = train(Natural(), SMALL, coarse, SHORT, seed=0, device=CPU, resume=tmp_path / "a").model
    first = {key: value.clone() for key, value in network.state_dict().items()}
    method = Twice()
    still = dataclasses.replace(SHORT, learning_rate=1e-6)
    again = train(method, SMALL, coarse, still, seed=1, device=CPU, resume=tmp_path / "b", start=network).model
    assert all(torch.allclose(value, first[key], atol=1e-4) for key, value in again.state_dict().items())
    start = method.seen[0].start
    assert start is not None
    assert not start.training
    assert all(torch.equal(value, first[key]) for key, value in start.state_dict().items())
    assert not any(parameter.requires_grad for parameter in start.parameters())


def test_a_killed_training_goes_on_from_where_it_was_and_still_knows_its_start(
    coarse: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fresh_network(Natural(), SMALL, coarse, seed=0)
    method = resolve_one(methods, "atex:copies=1,draws=1", Method).item

    def weights(folder: str) -> Tensor:
        arguments = {"seed": 0, "device": CPU, "resume": tmp_path / folder, "start": first}
        return copy_of(train(method, SMALL, coarse, SHORT, **arguments).model)  # type: ignore[arg-type]

    whole, save = weights("a"), training.save_state

    def dies(path: Path, value: dict[str, object]) -> None:
        save(path, value)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        weights("b")
    monkeypatch.setattr(training, "save_state", save)
    assert torch.equal(weights("b"), whole)


def test_tuning_is_shorter_and_slower_than_training_from_scratch() -> None:
    recipe = Recipe(epochs=20, batch_size=1, learning_rate=1.0, tuning_epochs=0.25, tuning_rate=0.1)
    assert (recipe.tuning().epochs, recipe.tuning().learning_rate) == (5, 0.1)
    assert dataclasses.replace(recipe, epochs=1).tuning().epochs == 1
    with pytest.raises(ValueError, match="tuning_epochs"):
        dataclasses.replace(recipe, tuning_epochs=0.0)


def test_parameters_a_method_frees_do_not_decay(coarse: Loaded, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Free(Natural):
        def decays(self, name: str) -> bool:
            return not name.endswith("bias")

        def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
            return 0 * super().loss(model, x, y, generator)

    recipe = dataclasses.replace(SHORT, optimizer="sgd", weight_decay=0.5, schedule="constant", learning_rate=0.1)
    kinds = {"weight": False, "bias": True}
    fresh = train(Free(), SMALL, coarse, dataclasses.replace(recipe, learning_rate=1e-30), seed=0, device=CPU,
                  resume=tmp_path / "a").model.state_dict()  # fmt: skip
    decayed = train(Free(), SMALL, coarse, recipe, seed=0, device=CPU, resume=tmp_path / "b").model.state_dict()
    for key, value in decayed.items():
        assert torch.equal(value, fresh[key]) is kinds[key.rpartition(".")[2]]


def job(method: str, start: str | None, coarse: Loaded) -> TrainingJob:
    return TrainingJob.on(
        coarse,
        method=resolve_one(methods, method, Method),
        model=resolve_one(models, "lenet:width=4,hidden=8", ModelFamily),
        dataset=resolve_one(datasets, "digits:size=16", Dataset),
        recipe=load_recipe("digits", epochs=1),
        seed=0,
        start=start and resolve_one(methods, start, Method),  # type: ignore[arg-type]
    )


def test_another_start_is_another_checkpoint(coarse: Loaded) -> None:
    jobs = [job("cure:start=scratch", None, coarse), job("cure", "natural", coarse), job("cure", "softplus", coarse)]
    assert len({one.key for one in jobs}) == 3
    assert jobs[0].before is None
    assert jobs[1].before is not None
    assert jobs[1].before.key == job("natural", None, coarse).key
    assert jobs[1].epochs == 1


def test_weights_trained_from_other_weights_are_other_weights(coarse: Loaded, tmp_path: Path) -> None:
    child = job("cure", "natural", coarse)
    assert child.before is not None
    starts = [train_into(dataclasses.replace(child.before, seed=seed), coarse, tmp_path, CPU) for seed in range(2)]
    found = [train_into(child, coarse, tmp_path, CPU, start) for start in starts]
    assert [one.card.start_sha256 for one in found] == [start.card.sha256 for start in starts]
    assert found[0].card.sha256 != found[1].card.sha256
    for one, start in zip(found, starts, strict=True):
        again = find_trained(child, tmp_path, start)
        assert again is not None
        assert again.card.sha256 == one.card.sha256
    assert find_trained(child, tmp_path) is None


def test_the_network_to_learn_from_is_as_it_was_trained(coarse: Loaded, tmp_path: Path) -> None:
    teacher = fresh_network(Softplus(), SMALL, coarse, seed=0)
    method = Twice()
    train(method, SMALL, coarse, SHORT, seed=0, device=CPU, resume=tmp_path / "r", start=teacher)
    start, x = method.seen[0].start, coarse.splits["test"].batch(range(4))[0]
    assert start is not None
    assert torch.equal(start(x), teacher.eval()(x))


def test_a_method_that_goes_on_from_another_trains_that_one_first(
    coarse: Loaded, tmp_path: Path, capsys: Capture
) -> None:
    words = ["--methods", "r2et:k=20", "--model", "lenet:width=4,hidden=8", "--epochs", "2", *FAST]
    words += ["--dataset", "digits:size=16"]
    code, out, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    assert "r2et:k=20" in out
    assert "natural" not in out
    assert err.index("natural: training for 2 epochs") < err.index("r2et:k=20: training for 1 epoch\n")
    cards = {card.method["name"]: card for card in map(WeightCard.read, (tmp_path / "run").rglob("*.toml"))}
    assert cards["r2et"].start["name"] == "natural"
    assert cards["natural"].start == {}
    wanted = dataclasses.replace(job("r2et:k=20", "natural", coarse), recipe=load_recipe("digits", epochs=2))
    assert matches(cards["r2et"], wanted)
    assert not matches(cards["r2et"], dataclasses.replace(wanted, start=None))
    code, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0
    assert "training" not in err


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cure:start=nature", "cure:start=nature: start=nature: unknown method 'nature'. Did you mean 'natural'?"),
        ("cure:start=aga", "start=aga has activations Softplus(beta=3.0, threshold=20.0), this method ReLU()"),
        ("trades:norm=l2", "type eps too"),
        ("trades:eps=64/255,step=1/255", "steps=5 of step=0.00392157 do not reach eps=0.25098"),
        ("pgd-at:confidence=3", "confidence changes nothing beside the other settings"),
        ("advgrad:penalty=l1,eps2=0.1", "eps2 changes nothing"),
        ("feature-smoothing:filter=mean,sigma=1", "sigma changes nothing"),
        ("r2et:penalty=none,k=5", "k changes nothing"),
        ("advgrad:eps=8", "write 8/255, not 8"),
        ("cure:start=r2et", "start=r2et goes on from trained weights itself"),
        ("atex:start=scratch", "start=scratch leaves nothing to learn from"),
        ("advgrad:penalty=group,patch=5", "patch=5 does not divide the images' width of 28 pixels"),
        ("advgrad:penalty=harmonized", "needs maps of where people look"),
        ("r2et:k=500", "k=500 leaves no 500 pixels on either side"),
        ("art:k=800", "k=800 is more than the 784 pixels"),
        ("far:attribution=gradient", "attribution=gradient needs softplus"),
        ("igr:host=at,beta=3", "beta is for host=trades"),
    ],
)
def test_what_cannot_be_trained_is_one_line_before_any_training(
    spec: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    code, out, err = run(["--methods", spec, *FAST, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


WRONG: list[dict[str, float]] = [
    *({key: -1.0} for key in ("eps", "l2", "cosd", "lam", "lam_hessian", "beta", "scale", "temperature", "reach")),
    *({key: -1} for key in ("steps", "points", "attack_points", "copies", "draws", "projections", "pairs", "patch")),
    *({key: 0.0} for key in ("step", "h", "softplus", "eps2")),
    {"alpha": 1.5},
]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (name, settings)
        for name in methods.names()
        for settings in WRONG
        if set(settings) <= set(methods.get(name).__dataclass_fields__)
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        methods.get(name)(**settings)


def test_settings_come_from_the_command_line_then_the_recipe_then_the_card() -> None:
    def settings(spec: str, model: str, recipe: str | None = None) -> tuple[float, float]:
        protocol = load_protocol("standard").override(methods=(spec,), model=model)
        request = request_of(protocol, recipe=recipe)
        item = request.methods[0].item
        return item.cosd, item.eps  # type: ignore[attr-defined]

    assert settings("aga", "lenet") == (1.0, 4 / 255)
    assert settings("aga", "resnet18") == (0.1, 4 / 255)
    assert settings("aga:cosd=5", "resnet18") == (5.0, 4 / 255)
    assert settings("aga", "resnet18", recipe="digits") == (0.1, 16 / 255)


def test_a_step_goes_with_its_ball() -> None:
    defaults = Defaults(recipe=load_recipe("digits"), dataset="cifar10", model="lenet")
    (as_it_is, other, own) = (
        resolve_methods([Spec.parse(text)], defaults)[0].item
        for text in ("ig-norm", "ig-norm:eps=8/255", "ig-norm:eps=8/255,step=1/255")
    )
    assert [item.step for item in (as_it_is, other, own)] == [8 / 255, None, 1 / 255]  # type: ignore[attr-defined]


@pytest.fixture
def looked_at(tmp_path: Path, digits: Loaded) -> Path:
    """Real digits as image files with gaze maps: people look at the left half."""
    x, y = digits.splits["train"].batch(range(40))
    for index, (image, label) in enumerate(zip(x, y.tolist(), strict=True)):
        split = "train" if index < 30 else "test"
        name = f"{label % 2}/{index}"
        for folder, pixels, suffix in (
            (split, (255 * image[0]).numpy().astype(np.uint8), ".bmp"),
            (f"gaze/{split}", np.tile(np.where(np.arange(28) < 14, 255, 0).astype(np.uint8), (28, 1)), ".png"),
        ):
            path = tmp_path / "photos" / folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def test_gaze_maps_belong_to_their_images_and_move_with_them(looked_at: Path, tmp_path: Path) -> None:
    data = ImageFolder(size=28, gaze="gaze").load(looked_at)
    split = data.splits["train"]
    assert split.has_gaze
    maps = split.gaze([0, 1])
    assert maps.shape == (2, 28, 28)
    assert torch.equal(maps[0], (torch.arange(28) < 14).float().expand(28, 28))
    assert split.sha256 != ImageFolder(size=28).load(looked_at).splits["train"].sha256
    method = Twice()
    train(method, SMALL, data, dataclasses.replace(SHORT, augment="flip"), seed=0, device=CPU, resume=tmp_path / "r")
    batch = method.seen[0]
    assert batch.gaze is not None
    left = [float(gaze[0, 0]) for gaze in batch.gaze]
    assert set(left) == {0.0, 1.0}, "some images are mirrored"
    originals = split.batch(range(len(split)))[0]
    for image, flipped in zip(batch.x, left, strict=True):
        shown = image if flipped else image.flip(2)
        assert any(torch.equal(shown, original) for original in originals)


def test_harmonized_training_moves_what_people_do_not_look_at_the_other_way(looked_at: Path) -> None:
    data = ImageFolder(size=28, gaze="gaze").load(looked_at)
    split = data.splits["train"]
    x, y = split.batch(range(4))
    model = SMALL.build(image_facts(data))
    method = AdvGrad(penalty="harmonized", variant="paper", eps=1.0)
    moved = method.adversarial(model, x, y, split.gaze(range(4))) - x
    gradient = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(gradient), y, reduction="sum"), gradient)
    length = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(moved[..., :14], -(slope / length)[..., :14], atol=1e-6)
    assert torch.allclose(moved[..., 14:], (slope / length)[..., 14:], atol=1e-6)


def test_a_harmonized_row_from_files(looked_at: Path, tmp_path: Path, capsys: Capture) -> None:
    words = [
        "--dataset",
        "imagefolder:size=28,gaze=gaze",
        "--data-root",
        looked_at,
        "--model",
        "lenet:width=4,hidden=8",
    ]
    words += ["--methods", "advgrad:penalty=harmonized,eps=0.1", "--epochs", "1", "--out", tmp_path / "run"]
    code, out, err = run([*words, *FAST], capsys)
    assert code == 0, err
    assert "advgrad:penalty=harmonized" in out
    first = next((looked_at / "gaze" / "train").rglob("*.png"))
    Image.new("L", (28, 20)).save(first)
    code, _, err = run([*words, *FAST], capsys)
    assert code == 2
    assert "is 28×20, its image 28×28: another shape" in err
    first.unlink()
    code, _, err = run([*words, *FAST], capsys)
    assert code == 2
    assert "every training image needs one" in err


def test_costs_add_up_and_are_written_as_passes() -> None:
    assert str(Cost(forward=2, backward=1) + Cost(backward=3, double_backward=1)) == "2F + 4B + H"
    assert str(Cost()) == "0"


def test_one_entry_is_described_with_its_card(capsys: Capture) -> None:
    code, out, _ = run(["--list", "methods:aga"], capsys)
    assert code == 0
    for part in ("arXiv 2211.15900", "2F + 4B + H", "cifar10/resnet18: eps=4/255", "aga:beta=3,eps=4/255,l2=0.01"):
        assert part in out
    assert "recipe    digits: eps=16/255" in out
    assert "\ndefaults  pgd-at:softplus=none" in run(["--list", "methods:pgd-at"], capsys)[1]
    assert "defaults  topk:" in run(["--list", "attacks:topk"], capsys)[1]
    code, _, err = run(["--list", "methods:agar"], capsys)
    assert code == 2
    assert "Did you mean 'aga'" in err
    assert run(["--list", "recipes:digits"], capsys)[0] == 2


def test_a_softplus_that_has_nothing_to_replace_is_refused(looked_at: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["--dataset", "imagefolder:size=32", "--data-root", looked_at, "--out", tmp_path / "run", *FAST]
    words += ["--model", "torchvision:name=efficientnet_b0", "--methods", "input-gradient:softplus=3"]
    code, _, err = run([*words, "--images", "4"], capsys)
    assert code == 2
    assert "torchvision:name=efficientnet_b0 has no ReLU that softplus could replace" in err
