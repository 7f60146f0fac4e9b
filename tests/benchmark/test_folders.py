"""Folders of images as they are in the wild: which split and class an image is of, and how it becomes an input."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from attrobust import load
from attrobust.benchmark.checkpoints.external import parse_external
from attrobust.benchmark.checkpoints.source import Claim
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.data.checks import load_dataset
from attrobust.benchmark.data.class_lists import SYNSETS
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.benchmark.data.preparation import Preparation
from attrobust.types import UsageError

from helpers.runs import FAST, run

Capture = pytest.CaptureFixture[str]
EACH = 6
"""Test digits in every class folder."""
OF_DIGITS = "lenet:width=16,hidden=64,normalize=0.306/0.324"


@pytest.fixture
def folder(digits: Loaded, tmp_path: Path) -> Path:
    """Test digits from 0 to 3 in ``test/<digit>/``, as grey PNG files of 28×28."""
    split, root = digits.splits["test"], tmp_path / "images"
    for digit in range(4):
        (root / "test" / str(digit)).mkdir(parents=True)
        for index in torch.nonzero(split.labels == digit).flatten().tolist()[:EACH]:
            pixels = split.pixels([index])[0, 0].numpy()
            Image.fromarray(pixels).save(root / "test" / str(digit) / f"{index:03}.png")
    return root


def flat(root: Path, head: str = "file,label") -> None:
    """All images in one folder and a CSV file of their classes."""
    rows = [(path.name, path.parent.name) for path in sorted(root.rglob("*.png"))]
    for path in sorted(root.rglob("*.png")):
        path.rename(root / path.name)
    shutil.rmtree(root / "test")
    with (root / "labels.csv").open("w", newline="") as opened:
        opened.write(f"{head}\n")
        csv.writer(opened).writerows(rows)


def named(name: str) -> Callable[[Path], object]:
    return lambda root: (root / "test").rename(root / name)


def without_splits(root: Path) -> None:
    for path in list((root / "test").iterdir()):
        path.rename(root / path.name)
    (root / "test").rmdir()


LAYOUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "test": (named("test"), ""),
    "val": (named("val"), ""),
    "validation": (named("validation"), ""),
    "Test": (named("Test"), ""),
    "class folders alone": (without_splits, ""),
    "a flat folder with a CSV file": (flat, ",labels=labels.csv"),
    "other heads of its columns": (lambda root: flat(root, "Image,Class"), ",labels=labels.csv"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_is_evaluated_without_training_images(
    layout: str, folder: Path, digits: Loaded, tmp_path: Path, capsys: Capture
) -> None:
    change, setting = LAYOUTS[layout]
    change(folder)
    weights = tmp_path / "mine.pt"
    torch.save(load("digits/natural").state_dict(), weights)
    dataset = f"imagefolder:size=28,channels=1,classes=10{setting}"
    words = ["--dataset", dataset, "--data-root", folder, "--checkpoint", f"mine={weights}:{OF_DIGITS}", *FAST]
    code, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    x, y = (
        ImageFolder(size=28, channels=1, classes="10", labels=setting.partition("=")[2] or None)
        .load(folder)
        .splits["test"]
        .batch(range(4 * EACH))
    )
    assert sorted(y.tolist()) == sorted([0, 1, 2, 3] * EACH)
    hits = float((load("digits/natural")(x).argmax(dim=1) == y).double().mean())
    found = json.loads((tmp_path / "run" / "run.json").read_text())["checkpoints"]["mine"]
    assert (found["accuracy"], found["images"]) == (hits, 4 * EACH)
    assert hits > 0.9


def test_what_needs_training_images_is_refused_where_there_are_none(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ["--dataset", "imagefolder:size=28,classes=10", "--data-root", folder, "--methods", "natural"]
    code, _, err = run([*words, *FAST, "--model", "lenet", "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert (
        "has no training images, which methods, transfer attacks and retraining metrics need; give --checkpoint" in err
    )
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def two_of_one_split(root: Path) -> None:
    shutil.copytree(root / "test", root / "testing")


def no_class_folders(root: Path) -> None:
    flat(root)
    (root / "labels.csv").unlink()


def one_above(root: Path) -> None:
    (root / "inner").mkdir()
    (root / "test").rename(root / "inner" / "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (two_of_one_split, "test and .*testing are both of the split test; rename one"),
        (no_class_folders, "holds 24 images that are in no class folder; .* imagefolder:labels=FILE.csv"),
        (one_above, "has no train/, test/ or val/, and .*inner has: --data-root .*inner"),
        (lambda root: shutil.rmtree(root / "test"), "holds no image files .* in class folders"),
    ],
)
def test_a_folder_whose_splits_or_classes_are_not_told_is_refused(
    change: Callable[[Path], object], message: str, folder: Path
) -> None:
    change(folder)
    with pytest.raises(UsageError, match=message) as caught:
        ImageFolder().load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no column 'file'; write file,label above"),
        ("000.png,0\n", "names no column 'file'"),
        ("file,name,label\n", "has two columns of the file: file, name"),
        ("file,label\n/tmp/x.png,0\n", "row 2 of .* names /tmp/x.png, which is not below"),
        ("file,label\n../x.png,0\n", "row 2 of .* names .*x.png, which is not below"),
        ("file,label\nnone.png,0\n", "row 2 of .*labels.csv names .*none.png, which does not exist"),
        ("file,label\n{}\n", "row 2 of .*labels.csv has 1 columns, and its head more"),
        ("file,label\n{},\n", "row 2 of .*labels.csv has no label"),
        ("file,label\n{},0\n{},1\n", "names .*png twice"),
        ("file,label,split\n{},0,dev\n", "row 2 of .* has the split 'dev'; use train, val or test"),
        ("file,label,split\n{},0,train\n", "has no images of the split test"),
        ("file,label\n{},0\n", "has images of 1 classes"),
        ("file,label\n,0\n", "row 2 of .*labels.csv names no file"),
        ("file,label\n\n\n{},\n", "row 4 of .*labels.csv has no label"),
        ("file;label\n{};0\n", "write file,label above, with commas between columns"),
        ("file,label\n{},big, grey cat\n", "row 2 of .*labels.csv has more columns than its head"),
        ('file,label,note\n{},0,"open\nnone.png,1,closed\n', "labels.csv is no CSV file .*unexpected end of data"),
        ('file,label\n{},"1"0\n', "labels.csv is no CSV file"),
    ],
)
def test_a_table_of_labels_that_makes_no_sense_is_refused_with_its_row(text: str, message: str, folder: Path) -> None:
    flat(folder)
    (folder / "labels.csv").write_text(text.replace("{}", next(folder.glob("*.png")).name))
    with pytest.raises(UsageError, match=message):
        ImageFolder(labels="labels.csv").load(folder)
    with pytest.raises(UsageError, match=r"labels: .*other\.csv does not exist"):
        ImageFolder(labels="other.csv").load(folder)


@pytest.mark.parametrize("odd", ["10.0", "-1", "+1", "1e1", "nan", "unknown", "\u0661"])
def test_labels_of_which_some_are_numbers_are_never_numbered_as_names(odd: str, folder: Path) -> None:
    """In the order of letters 10 comes before 2, so that every number would stand for another logit."""
    flat(folder)
    files = sorted(path.name for path in folder.glob("*.png"))
    for others in ("2", "2.0"):
        (folder / "labels.csv").write_text(f"file,label\n{files[0]},{odd}\n{files[1]},{others}\n", encoding="utf-8")
        with pytest.raises(UsageError, match=r"labels that are numbers, and .* is not the number of a logit") as caught:
            ImageFolder(labels="labels.csv").load(folder)
    assert "\n" not in str(caught.value)
    (folder / "names.txt").write_text(f"2.0\n{odd}\n", encoding="utf-8")
    assert ImageFolder(labels="labels.csv", classes="names.txt").load(folder).classes == ("2.0", odd)


@pytest.mark.parametrize("label", ["1000000", "99999999999", "9" * 5000])
def test_numbers_that_no_class_has_are_refused_before_classes_are_made(label: str, folder: Path) -> None:
    flat(folder)
    files = sorted(path.name for path in folder.glob("*.png"))
    (folder / "labels.csv").write_text(f"file,label\n{files[0]},0\n{files[1]},{label}\n")
    with pytest.raises(UsageError, match=r"1000000 .*are the most"):
        ImageFolder(labels="labels.csv").load(folder)
    with pytest.raises(UsageError, match="more than 1000000 classes"):
        ImageFolder(labels="labels.csv", classes=f"{label}1").load(folder)


@pytest.mark.parametrize("setting", ["labels", "classes"])
def test_what_is_no_file_is_not_waited_for(setting: str, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for name, kind in (("pipe", "pipe"), ("/dev/zero", "device"), (".", "folder")):
        with pytest.raises(UsageError, match=f"is a {kind}, and no file"):
            ImageFolder(**{setting: name}).load(folder)  # type: ignore[arg-type]


def test_a_table_beside_a_folder_of_all_images_is_named(folder: Path) -> None:
    flat(folder)
    (folder / "photographs").mkdir()
    for image in folder.glob("*.png"):
        image.rename(folder / "photographs" / image.name)
    with pytest.raises(UsageError, match=r"it needs at least 2; if labels\.csv says them: imagefolder:labels=labels"):
        ImageFolder(size=28, channels=1).load(folder)


def test_a_table_may_say_splits_and_its_numbers_are_those_of_classes(folder: Path, tmp_path: Path) -> None:
    flat(folder)
    files = sorted(path.name for path in folder.glob("*.png"))
    rows = [f"{name},{11 if i % 2 else 2},{('train', 'valid', 'test')[i % 3]}" for i, name in enumerate(files)]
    (folder / "labels.csv").write_text("\n".join(["file,label,split", *rows]))
    data = load_dataset(ImageFolder(size=28, labels="labels.csv"), folder, "imagefolder")
    assert data.classes == tuple(str(number) for number in range(12)), "a label is the number of a logit"
    for split in data.splits.values():
        assert len(split) == 8
        assert set(split.labels.tolist()) == {2, 11}


def test_folders_of_numbers_in_another_order_are_said(folder: Path, said: list[str]) -> None:
    (folder / "test" / "3").rename(folder / "test" / "10")
    assert ImageFolder(size=28).load(folder).classes == ("0", "1", "10", "2")
    (line,) = said
    assert (
        "numbered in alphabetical order, 0, 1, 10, …; if they number a network's classes, set classes=11 or more"
        in line
    )
    assert ImageFolder(size=28, classes="11").load(folder).splits["test"].labels.max() == 10
    assert len(said) == 1


def synset_folders(folder: Path, names: list[str]) -> None:
    for digit, name in enumerate(names):
        (folder / "test" / str(digit)).rename(folder / "test" / name)


def test_folders_of_some_synsets_have_the_numbers_of_imagenet(folder: Path) -> None:
    categories = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    known = {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n03445777": "golf ball",
        "n15075141": "toilet tissue",
    }
    synset_folders(folder, list(known))
    data = ImageFolder(size=28, classes="imagenet").load(folder)
    assert len(data.classes) == 1000
    assert {categories[label] for label in data.splits["test"].labels.tolist()} == set(known.values())
    synsets = SYNSETS.read_text().split()
    assert synsets == sorted(set(synsets)), "networks number the classes of ImageNet in the order of these names"
    (folder / "test" / "n01440764").rename(folder / "test" / "n0144076")
    with pytest.raises(
        UsageError, match=r"the class 'n0144076', which classes=imagenet lacks\. Did you mean 'n01440764'"
    ):
        ImageFolder(size=28, classes="imagenet").load(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.json", json.dumps(["ape", "bee", "cat", "dog", "eel"])),
        ("numbers.json", json.dumps({"dog": 3, "ape": 0, "eel": 4, "cat": 2, "bee": 1})),
        ("names.json", json.dumps({"0": ["n0", "ape"], "1": ["n1", "bee"], "2": "cat", "3": "dog", "4": "eel"})),
        ("names.txt", "ape\nbee\ncat\ndog\neel\n"),
    ],
)
def test_a_file_says_which_classes_the_folders_are(name: str, content: str, folder: Path) -> None:
    synset_folders(folder, ["eel", "cat", "bee", "ape"])
    (folder / name).write_text(content)
    data = ImageFolder(size=28, classes=name).load(folder)
    assert len(data.classes) == 5
    files = sorted((folder / "test" / "eel").iterdir())
    eels = data.splits["test"].pixels(torch.nonzero(data.splits["test"].labels == 4).flatten().tolist())
    wanted = {np.asarray(Image.open(path)).tobytes() for path in files}
    assert {image[0].numpy().tobytes() for image in eels} == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "does not number classes from 0"),
        ('{"ape": 1, "bee": 2}', "does not number classes from 0"),
        ('{"a": "b"}', "does not number classes from 0"),
        ("[", "does not number classes from 0"),
        ('["0", "1", "0"]', "names the class '0' twice"),
        ('["0", "1"]', "has the class '2', which classes=list.json lacks"),
        ('{"0": 0, "1": 1, "0": 2}', "classes=list.json has '0' twice"),
        ('{"0": ["ape"], "1": ["bee"], "0": ["cat"]}', "classes=list.json has '0' twice"),
        ('{"0": "0", "1": "1", "01": "2"}', "does not number classes from 0"),
        ('{"0": "0", "0_1": "1"}', "does not number classes from 0"),
        ('{"0": [null, "0"], "1": "1"}', "does not number classes from 0"),
        ('{"0": {"0": 3}, "1": "1"}', "does not number classes from 0"),
        ("[" * 100_000, "does not number classes from 0"),
        (
            '{"0": ["n0", "0"], "1": ["n1", "0"]}',
            "the class '0', which in classes=list.json is the name of the numbers 0 and 1; use another of its names",
        ),
    ],
)
def test_a_file_of_classes_that_makes_no_sense_is_refused(content: str, message: str, folder: Path) -> None:
    (folder / "list.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        ImageFolder(classes="list.json").load(folder)
    with pytest.raises(UsageError, match=r"classes=none\.json: .* it is imagenet, a number of classes, or a file"):
        ImageFolder(classes="none.json").load(folder)


PHOTO = Image.fromarray(load_sample_image("china.jpg"))


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "efficientnet_b0", "efficientnet_b3", "vit_b_16", "swin_v2_t"]
)
@pytest.mark.parametrize("turned", [False, True])
def test_images_are_prepared_to_the_pixel_as_torchvision_does(name: str, turned: bool) -> None:
    photo = PHOTO.transpose(Image.Transpose.ROTATE_90) if turned else PHOTO
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    resized = F.resize(photo, preset.resize_size, interpolation=preset.interpolation)
    wanted = F.pil_to_tensor(F.center_crop(resized, preset.crop_size))
    ours = Preparation(size=preset.crop_size[0], resize=preset.resize_size[0], interpolation=preset.interpolation.value)
    assert torch.equal(ours(photo), wanted)


@pytest.mark.parametrize("interpolation", ["nearest", "lanczos"])
def test_other_interpolations_are_those_of_the_name(interpolation: Any) -> None:
    wanted = F.pil_to_tensor(F.center_crop(F.resize(PHOTO, 97, InterpolationMode(interpolation)), 64))
    assert torch.equal(Preparation(size=64, resize=97, interpolation=interpolation)(PHOTO), wanted)


def test_one_channel_is_the_grey_image_itself(folder: Path, digits: Loaded) -> None:
    data = load_dataset(ImageFolder(size=28, channels=1, classes="10"), folder, "imagefolder")
    assert (data.channels, data.mean, data.std) == (1, (0.449,), (0.226,))
    images = {image.numpy().tobytes() for image in digits.splits["test"].pixels(range(300))}
    assert {image.numpy().tobytes() for image in data.splits["test"].pixels(range(4 * EACH))} <= images
    assert torch.equal(Preparation(size=90, resize=90, channels=1)(PHOTO)[0], grey(90))


def grey(size: int) -> torch.Tensor:
    return F.pil_to_tensor(F.center_crop(F.resize(PHOTO.convert("L"), size), size))[0]


def test_other_preparations_are_other_images_to_a_hash(folder: Path) -> None:
    settings: list[dict[str, Any]] = [{}, {"resize": 32}, {"interpolation": "bicubic"}, {"channels": 1}, {"size": 24}]
    hashes = {ImageFolder(**{"size": 28, **more}).load(folder).splits["test"].sha256 for more in settings}
    assert len(hashes) == len(settings)
    explicit = ImageFolder(size=28, resize=28).load(folder).splits["test"].sha256
    assert explicit == ImageFolder(size=28).load(folder).splits["test"].sha256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": 31}, "resize=31 must be between size=32 and 8192 pixels"),
        ({"channels": 2}, "channels=2 must be 1 or 3"),
    ],
)
def test_settings_that_no_image_can_have_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageFolder(**settings)


def test_scaling_that_is_not_that_of_the_weights_makers_is_said(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = Preparation(size=28, resize=32, interpolation="bicubic")
    monkeypatch.setattr(
        "attrobust.benchmark.checkpoints.source.WeightFile.claim",
        lambda *_: Claim(source="torchvision", preparation=stated),
    )
    weights = tmp_path / "mine.pt"
    torch.save(load("digits/natural").state_dict(), weights)
    dataset = ["--dataset", "imagefolder:size=28,channels=1,classes=10", "--data-root", folder]
    words = [*dataset, "--checkpoint", f"mine={weights}:{OF_DIGITS}", *FAST, "--out", tmp_path / "run"]
    code, _, err = run(words, capsys)
    assert code == 0, err
    assert (
        "warning: mine: images are scaled to 28 (bilinear) and cropped to 28; torchvision says scaled to 32 (bicubic) "
        "and cropped to 28: --dataset imagefolder:size=28,resize=32,interpolation=bicubic"
    ) in err
    words[1] = "imagefolder:size=28,channels=1,classes=10,resize=32,interpolation=bicubic"
    _, _, err = run([*words[:-1], tmp_path / "other"], capsys)
    assert "images are scaled" not in err


@pytest.mark.parametrize("network", ["resnet50", "efficientnet_b0"])
def test_torchvisions_weights_state_how_images_are_prepared(network: str, digits: Loaded) -> None:
    from attrobust.benchmark import models
    from attrobust.benchmark.models.base import ModelFamily
    from attrobust.naming.component import resolve_one

    item = parse_external(f"a=torchvision/{network}", resolve_one(models.registry, "lenet", ModelFamily))
    claim = item.source.claim(digits)
    assert claim is not None
    expected = {"resnet50": (224, 232, "bilinear"), "efficientnet_b0": (224, 256, "bicubic")}[network]
    assert claim.preparation is not None
    assert (claim.preparation.size, claim.preparation.resize, claim.preparation.interpolation) == expected


def test_what_is_neither_a_file_nor_a_folder_is_refused_and_names_that_are_no_utf_8_are_read(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("L", (8, 8), 100 * number).save(tmp_path / name / f"{number}.png")
    (tmp_path / "one" / "0.png").rename(tmp_path / "one" / os.fsdecode(b"caf\xe9.png"))
    loaded = ImageFolder(size=8).load(tmp_path)
    assert len(loaded.splits["test"].sha256) == 64
    os.mkfifo(tmp_path / "one" / "pipe.png")
    with pytest.raises(UsageError, match=r"pipe\.png is neither a file nor a folder"):
        ImageFolder(size=8).load(tmp_path)
