"""The whole path on real CIFAR-10 images, where ATTROBUST_DATA names a folder that holds them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import normalize

from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.external import parse_external
from attrobust.benchmark.data.base import ArraySplit, Loaded, image_facts
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training.loop import correct, fresh_network
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.methods import registry
from attrobust.methods.base import Batch
from attrobust.naming.component import resolve_one

from helpers.foreign import AgaLeNet
from helpers.light import light, trained
from helpers.runs import run

LEARNERS = ["natural", "softplus", "aga", "hessian", "pgd-at", "lcnn", "trades", "advgrad", "cure"]
"""Methods that see enough images here to learn something; the others would take minutes."""


@pytest.fixture(scope="module")
def data(cifar_root: Path) -> Loaded:
    return ImageFolder().load(cifar_root)


def test_all_images_are_there_in_ten_classes(data: Loaded) -> None:
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 45_000, "val": 5_000, "test": 10_000}
    assert data.classes[:2] == ("airplane", "automobile")
    x, y = data.splits["test"].batch(range(500))
    assert x.shape == (500, 3, 32, 32)
    assert 0.4 < float(x.mean()) < 0.55
    assert (torch.bincount(y, minlength=10) > 25).all()


@pytest.mark.parametrize("name", LEARNERS)
def test_methods_tell_airplanes_from_automobiles(name: str, data: Loaded, tmp_path: Path) -> None:
    few = {}
    for key, split in data.splits.items():
        rows = (split.labels < 2).nonzero().flatten()[:384].tolist()
        few[key] = ArraySplit(split.pixels(rows), split.labels[rows])
    data = dataclasses.replace(data, splits=few)
    recipe = dataclasses.replace(load_recipe("cifar10"), epochs=4, batch_size=16)
    model = trained(name, LeNet(width=8, hidden=32), data, recipe, tmp_path).model
    assert correct(model, few["test"], 384, torch.device("cpu")).double().mean() > 0.65


@pytest.mark.parametrize("name", registry.names())
def test_a_step_of_every_method_on_photographs_lowers_its_loss(name: str, data: Loaded) -> None:
    x, y = data.splits["train"].batch(range(16))
    method, family = light(name), LeNet(width=8, hidden=32)
    model, start = (fresh_network(method, family, data, seed).train() for seed in range(2))

    def loss() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return next(method.losses(model, Batch(x=x, y=y, generator=generator, start=start.eval())))

    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


def test_a_lightning_file_of_robustaga_gives_its_logits(data: Loaded, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs, family = AgaLeNet().eval(), resolve_one(models.registry, "lenet", ModelFamily)
    state = {f"model.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"model": "lenet"}}, tmp_path / "last.ckpt")
    x, _ = data.splits["test"].batch(range(64))
    text = f"mine={tmp_path / 'last.ckpt'}:lenet:activation=softplus,normalize=cifar10"
    ours, _ = parse_external(text, family).open(image_facts(data))
    wanted = theirs(normalize(x, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    assert (ours(x) - wanted).abs().max() <= 1e-6


def test_the_command_attacks_and_prints(cifar_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = tmp_path / "few"
    for split, count in (("train", 40), ("test", 10)):
        for folder in sorted((cifar_root / split).iterdir()):
            (few / split / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:count]:
                (few / split / folder.name / image.name).symlink_to(image)
    words = [
        "--methods",
        "natural,aga",
        "--dataset",
        "imagefolder",
        "--data-root",
        few,
        "--model",
        "lenet:width=8,hidden=32",
    ]
    words += ["--epochs", "4", "--eps", "8/255", "--images", "8", "--explainers", "saliency,smoothgrad:samples=2"]
    words += ["--attacks", "noise,topk:steps=8,mass-center:steps=8,target:steps=8,frame:steps=8,width=4"]
    words += ["--baselines", "none", "--no-audit", "--metrics", "topk,spearman,cosine,normalized-l2"]
    code, out, _ = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0
    assert "modified" in out
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    accuracies = ["accuracy (%)", "under apgd (%)"]
    assert set(accuracies) < set(table["metric"])
    table = table[(table["subset"] == "all") & (table["scope"] != "worst") & ~table["metric"].isin(accuracies)]
    assert len(table) == 2 * 2 * 5 * 4
    assert table["mean"].notna().all()
    cosine = table[(table["metric"] == "Cosine") & (table["explainer"] == "saliency")]
    means = cosine.groupby("attack")["mean"].mean()
    assert means["topk:steps=8"] < means["noise"]
    assert means["target:steps=8"] < means["noise"]
