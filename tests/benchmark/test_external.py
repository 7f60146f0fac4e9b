"""Weights that others trained: found in their files, put into the right network, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import UsageError, load
from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint, parse_external
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.store.store import Store
from attrobust.naming.component import resolve_one
from attrobust.networks.smoothed import softplus_model
from attrobust.types import ImageFacts

from helpers.foreign import AgaLeNet, KuangliuResNet
from helpers.runs import FAST, run

Capture = pytest.CaptureFixture[str]
State = dict[str, Tensor]
COLOUR = ImageFacts(channels=3, size=32, classes=10, mean=(0.49, 0.48, 0.45), std=(0.2, 0.21, 0.22))
GREY = ImageFacts(channels=1, size=28, classes=10, mean=(0.306,), std=(0.324,))
SMALL = "lenet:width=16,hidden=64"


def natural() -> State:
    return dict(load("digits/natural").state_dict())


def saved(value: object, path: Path) -> Path:
    torch.save(value, path)
    return path


def external(path: Path | str, model: str = "") -> ExternalCheckpoint:
    default = resolve_one(models.registry, SMALL, ModelFamily)
    return parse_external(f"mine={path}:{model}" if model else f"mine={path}", default)


def opened(path: Path | str, model: str = "", facts: ImageFacts = GREY) -> nn.Module:
    return external(path, model).open(facts)[0]


@pytest.fixture
def colour(real_images: tuple[Tensor, Tensor]) -> Tensor:
    """Twelve test digits as colour images of 32×32."""
    x = F.pad(real_images[0], (2, 2, 2, 2))
    return torch.cat([x, x.flip(3), x.flip(2)], dim=1)


def normalised(x: Tensor, facts: ImageFacts) -> Tensor:
    return (x - torch.tensor(facts.mean).view(1, -1, 1, 1)) / torch.tensor(facts.std).view(1, -1, 1, 1)


def trained_a_little(network: nn.Module, x: Tensor) -> nn.Module:
    """With statistics in its normalisation layers that are not those of a fresh network."""
    with torch.no_grad():
        for _ in range(3):
            network.train()(x)
    return network.eval()


def test_a_lightning_checkpoint_of_robustaga_is_its_network(colour: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = AgaLeNet().eval()
    lightning = {
        "epoch": 3,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": {f"model.{key}": value for key, value in theirs.state_dict().items()},
        "optimizer_states": [torch.optim.AdamW(theirs.parameters()).state_dict()],
        "hyper_parameters": {"model": "lenet", "activation_fn": "softplus", "softplus_beta": 3.0, "milestones": [150]},
    }
    ours = opened(saved(lightning, tmp_path / "last.ckpt"), "lenet:activation=softplus", COLOUR)
    wanted = theirs(normalised(colour, COLOUR))
    assert (ours(colour) - wanted).abs().max() <= 1e-6
    assert wanted.std() > 1e-2
    relu = opened(tmp_path / "last.ckpt", "lenet", COLOUR)
    assert (relu(colour) - wanted).abs().max() > 1e-2, "the file does not say which activation it was trained with"


@pytest.mark.parametrize("wrapper", ["net", "state_dict"])
def test_a_resnet_with_shortcuts_and_a_linear_layer_is_resnet18(wrapper: str, colour: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = trained_a_little(KuangliuResNet(), normalised(colour, COLOUR))
    parallel = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    ours = opened(saved({wrapper: parallel, "acc": 95.1, "epoch": 9}, tmp_path / "ckpt.pth"), "resnet18", COLOUR)
    wanted = theirs(normalised(colour, COLOUR))
    assert (ours(colour) - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "net.", "model.module.", "_orig_mod.", "backbone.0."])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model_state_dict", "model", "net", "state"])
def test_weights_are_found_under_any_usual_key_and_prefix(
    wrapper: str, prefix: str, real_images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    state = {f"{prefix}{key}": value for key, value in natural().items()}
    file = saved({wrapper: state, "epoch": 1, "optimizer": {"lr": 0.1}} if wrapper else state, tmp_path / "mine.pt")
    x = real_images[0]
    assert torch.equal(opened(file)(x), load("digits/natural")(x))


def test_a_prefix_that_not_all_weights_share_is_left(tmp_path: Path) -> None:
    state = natural()
    last = state.pop("classifier.3.bias")
    file = saved({**{f"model.{key}": value for key, value in state.items()}, "classifier.3.bias": last}, tmp_path / "a")
    with pytest.raises(UsageError, match=r"lacks 'features\.0\.weight', which the model has; is it another"):
        opened(file)


def test_counts_of_batches_that_old_files_lack_are_not_missed(colour: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = trained_a_little(resolve_one(models.registry, "resnet18", ModelFamily).item.build(COLOUR), colour)
    old = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert torch.equal(opened(saved(old, tmp_path / "old.pth"), "resnet18", COLOUR)(colour), network(colour))
    for missing in ("layer2.0.bn1.running_mean", "fc.bias"):
        file = saved({key: value for key, value in old.items() if key != missing}, tmp_path / "less.pth")
        with pytest.raises(UsageError, match=f"lacks '{missing}'"):
            opened(file, "resnet18", COLOUR)


class Trap:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_no_code_of_a_file_is_run_and_the_way_out_is_said(tmp_path: Path) -> None:
    lightning = {"pytorch-lightning_version": "2.5", "state_dict": natural()}
    file = saved({**lightning, "hyper_parameters": ImageFacts}, tmp_path / "last.ckpt")
    resave = r'torch\.save\(torch\.load\(FILE, weights_only=False\)\["state_dict"\], NEW\)'
    with pytest.raises(UsageError, match=rf"holds a attrobust\.types\.ImageFacts, and no code .* is run.*: {resave}"):
        opened(file)
    with pytest.raises(UsageError, match=r"holds a torch.*, and no code .*: torch\.save\(model\.state_dict\(\), NEW\)"):
        opened(saved(load("digits/natural"), tmp_path / "whole.pt"))
    with pytest.raises(UsageError, match="no code of a checkpoint is run here"):
        opened(saved({"state_dict": natural(), "more": Trap(tmp_path / "ran")}, tmp_path / "trap.pt"))
    assert not (tmp_path / "ran").exists()


def test_the_first_misfit_is_named_and_what_would_fit(tmp_path: Path) -> None:
    lenet = saved(natural(), tmp_path / "lenet.pt")
    with pytest.raises(UsageError, match=r"lacks 'conv1\.weight', .*; the model 'lenet:width=16,hidden=64' would fit$"):
        opened(lenet, "resnet18")
    with pytest.raises(UsageError, match=r"begins with 'features\.0\.weight' and lacks 'conv1\.weight'"):
        opened(lenet, "resnet18")
    with pytest.raises(
        UsageError,
        match=r"'features\.0\.weight' has shape 16×1×3×3, the model needs 8×1×3×3; the model 'lenet:width=16",
    ):
        opened(lenet, "lenet:width=8")
    stem = resolve_one(models.registry, "resnet18-imagenet", ModelFamily).item.build(COLOUR).state_dict()
    with pytest.raises(
        UsageError, match=r"'conv1\.weight' has shape 64×3×7×7.*; the model 'resnet18-imagenet' would fit$"
    ):
        opened(saved(stem, tmp_path / "stem.pt"), "resnet18", COLOUR)
    aga = saved({f"model.{key}": value for key, value in AgaLeNet().state_dict().items()}, tmp_path / "aga.pt")
    with pytest.raises(UsageError, match=r"lacks 'conv1\.weight', .*; the model 'lenet' would fit$"):
        opened(aga, "resnet18", COLOUR)


def test_another_number_of_classes_is_called_that(tmp_path: Path) -> None:
    state = natural()
    state["classifier.3.weight"], state["classifier.3.bias"] = torch.zeros(100, 64), torch.zeros(100)
    with pytest.raises(
        UsageError,
        match=r"was trained for 100 classes, the dataset has 10 \(imagefolder:classes=FILE says which .* has\): "
        r"'classifier\.3\.weight' has shape 100×64, the model needs 10×64$",
    ):
        opened(saved(state, tmp_path / "hundred.pt"))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("data", COLOUR.mean, COLOUR.std),
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ],
)
def test_a_network_normalises_with_what_its_checkpoint_was_trained_with(
    name: str, mean: tuple[float, ...], std: tuple[float, ...], colour: Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs = AgaLeNet().eval()
    file = saved(theirs.state_dict(), tmp_path / "aga.pt")
    ours = opened(file, f"lenet:activation=softplus,normalize={name}", COLOUR)
    x = (colour - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert (ours(colour) - theirs(x)).abs().max() <= 1e-6


def spoilt(state: State) -> State:
    """With the classes in another order."""
    turned = {key: state[key].roll(1, 0) for key in ("classifier.3.weight", "classifier.3.bias")}
    return {**state, **turned}


def checked(words: list[str | Path], out: Path, capsys: Capture) -> tuple[dict[str, Any], str, str]:
    """What run.json says of the checkpoint, stderr, and the log."""
    code, _, err = run([*words, *FAST, "--out", out], capsys)
    assert code == 0, err
    return json.loads((out / "run.json").read_text())["checkpoints"]["mine"], err, (out / "log.txt").read_text()


def test_accuracy_and_normalisation_are_said_before_the_attacks_and_held_to_the_card(
    tmp_path: Path, capsys: Capture
) -> None:
    file, out = saved(natural(), tmp_path / "mine.pt"), tmp_path / "run"
    words: list[str | Path] = ["--checkpoint", f"mine={file}"]
    facts, err, _ = checked(words, out, capsys)
    assert "mine: accuracy 98.7 % on 300 test images, normalisation: data, mean 0.306 and std 0.324\n" in err
    assert err.index("mine: accuracy") < err.index("mine / saliency")
    assert facts["warnings"] == []
    before = Store(out).rows()
    file.with_suffix(".toml").write_text("accuracy = 0.99\nepochs = 20\n")
    facts, err, _ = checked(words, out, capsys)
    assert "normalisation: data, mean 0.306 and std 0.324; the card says 99.0 %\n" in err
    assert facts["warnings"] == []
    assert facts["claim"]["accuracy"] == 0.99
    assert facts["accuracy"] == pytest.approx(296 / 300)
    assert Store(out).rows() == before, "what is claimed decides no cell"


def test_weights_that_are_not_as_good_as_their_card_are_conspicuous(tmp_path: Path, capsys: Capture) -> None:
    file, out = saved(spoilt(natural()), tmp_path / "mine.pt"), tmp_path / "run"
    file.with_suffix(".toml").write_text("accuracy = 0.83\n")
    for _ in range(2):
        facts, err, log = checked(["--checkpoint", f"mine={file}"], out, capsys)
        far, guess = facts["warnings"]
        assert far.endswith("is far from the card's 83.0 %: wrong normalisation or class order?")
        assert guess.startswith("accuracy 0.")
        assert "is worse than guessing (12.7 %): wrong normalisation, activation or class order?" in guess
        assert f"warning: mine: {far}\n" in err
        assert f"WARNING warning: mine: {guess}\n" in log
    file.with_suffix(".toml").unlink()
    assert checked(["--checkpoint", f"mine={file}"], out, capsys)[0]["warnings"] == [guess]


def test_a_weight_card_of_ours_tells_normalisation_and_activations(tmp_path: Path, capsys: Capture) -> None:
    source = Path(models.__file__).parents[1] / "checkpoints" / "shipped" / "digits"
    for name in ("aga.pt", "aga.toml"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    words: list[str | Path] = ["--checkpoint", f"mine={tmp_path / 'aga.pt'}:{SMALL},activation=softplus"]
    facts, err, _ = checked(words, tmp_path / "run", capsys)
    assert "the card says 99.3 % on the validation images\n" in err
    assert facts["warnings"] == []
    words[1] = f"mine={tmp_path / 'aga.pt'}:{SMALL},normalize=half"
    facts, _, _ = checked(words, tmp_path / "run", capsys)
    far, normalisation, kinds = facts["warnings"]
    assert far.startswith("accuracy 93.7 % on the validation images is far from the card's 99.3 %")
    assert normalisation == "it is normalised with mean 0.5 and std 0.5; the card says mean 0.306 and std 0.324"
    assert kinds == "its activations are ReLU(); the card says Softplus(beta=3.0, threshold=20.0)"
    card = tmp_path / "aga.toml"
    card.write_text(card.read_text().replace('name = "aga"', 'name = "a-plug-in"'))
    assert checked(words, tmp_path / "run", capsys)[0]["warnings"] == [far]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("accuracy = 83\n", "accuracy = 83 must be a share between 0 and 1, such as 0.83"),
        ('accuracy = "good"\n', "accuracy = 'good' must be a share"),
        ("accuracy = \n", "mine.toml: Invalid value"),
        ('mean = ["a"]\nstd = [0.3]\n', "mean and std must be lists of numbers"),
        (f'accuracy = 0.9\nsha256 = "{"0" * 64}"\n', "its sha256 is not that of mine.pt: a card of other weights"),
    ],
)
def test_a_card_that_makes_no_sense_is_one_line(card: str, message: str, tmp_path: Path, capsys: Capture) -> None:
    file = saved(natural(), tmp_path / "mine.pt")
    file.with_suffix(".toml").write_text(card)
    code, _, err = run(["--checkpoint", f"mine={file}", *FAST, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_softplus_setting_is_the_view_of_the_relu_network(real_images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    file, x = saved(natural(), tmp_path / "mine.pt"), real_images[0]
    ours = opened(file, f"{SMALL},activation=softplus,beta=5")
    assert torch.equal(ours(x), softplus_model(load("digits/natural"), 5.0)(x))
