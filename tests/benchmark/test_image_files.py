"""Folders of images: what is hashed is what is scored, what is left out is said, what cannot be read stops the run."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from attrobust.benchmark.checkpoints import find
from attrobust.benchmark.data.decode import decode
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError

from helpers.png import png16
from helpers.runs import FAST, run

Capture = pytest.CaptureFixture[str]
Values = NDArray[np.uint16]
IMAGES = "attrobust.benchmark.data.folder_split"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scans of two digits as PNG files, 20 of each to train on and 6 to test."""
    bunch = load_digits(n_class=2)
    for digit in range(2):
        for count, i in enumerate(np.flatnonzero(bunch.target == digit)[:26]):
            path = tmp_path / "images" / ("train" if count < 20 else "test") / f"digit{digit}"
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray((bunch.images[i] * 15.9).astype(np.uint8)).resize((28, 28)).save(path / f"{count}.png")
    return tmp_path / "images"


def words(folder: Path, out: Path) -> list[str | Path]:
    small = ["--model", "lenet:width=4,hidden=8", "--epochs", "1", "--recipe", "digits"]
    return [
        "--dataset",
        "imagefolder:size=28",
        "--data-root",
        folder,
        "--out",
        out,
        "--methods",
        "natural",
        *small,
        *FAST,
    ]


@pytest.mark.parametrize("cache", [2**31, 0], ids=["kept in memory", "read again"])
def test_images_changed_during_training_are_never_scored_under_the_hash_of_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, cache: int
) -> None:
    """Either the images of the start are scored, or nothing is."""
    shutil.copytree(folder, tmp_path / "before")

    def train(*args: Any, **options: Any) -> Any:
        for path in (folder / "test").rglob("*.png"):
            Image.new("L", (28, 28), 77).save(path)
        return real(*args, **options)

    real = find.train
    chosen = ["--methods", "natural,softplus:beta={3,30}", "--choose", "cosine@topk:steps=2"]
    with monkeypatch.context() as patch:
        patch.setattr(f"{IMAGES}.CACHE_BYTES", cache)
        patch.setattr(find, "train", train)
        code, _, err = run([*words(folder, tmp_path / "run"), *chosen], capsys)
    assert code == (0 if cache else 2), err
    assert cache or "changed since the run started; run the same command again" in err
    assert run([*words(tmp_path / "before", tmp_path / "fresh"), *chosen], capsys)[0] == 0
    found, wanted = scores(tmp_path / "run"), scores(tmp_path / "fresh")
    assert found.items() <= wanted.items()
    assert (found == wanted) == bool(cache), "those on validation images are scored before"


def scores(out: Path) -> dict[str, str]:
    """Hashes of the per-image scores of a run, by the fingerprint of their row."""
    rows = Store(out).rows().values()
    return {row.fingerprint: row.scores_sha256 for row in rows if isinstance(row, ScoredRow)}


def test_a_training_image_changed_after_the_start_is_not_trained_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{IMAGES}.CACHE_BYTES", 0)
    split = ImageFolder(size=28).load(folder).splits["train"]
    assert split.sha256
    victim = next((folder / "train" / "digit0").iterdir())
    Image.new("L", (28, 28), 77).save(victim)
    with pytest.raises(UsageError, match=r"png changed since the run started"):
        split.batch(range(len(split)))


def test_the_hash_of_a_folder_is_that_of_its_names_bytes_classes_and_size(folder: Path) -> None:
    data = ImageFolder(size=28).load(folder)
    split = data.splits["test"]
    lines = {}
    for path in (folder / "test").rglob("*.png"):
        content, label = path.read_bytes(), int(path.parent.name[-1])
        name = path.relative_to(folder).as_posix()
        lines[content] = f"{name} {hashlib.sha256(content).hexdigest()} {label}\n"
    by_pixels = {np.asarray(Image.open(io.BytesIO(content))).tobytes(): line for content, line in lines.items()}
    ordered = [by_pixels[image[0].numpy().tobytes()] for image in split.pixels(range(len(split)))]
    assert split.sha256 == hashlib.sha256("".join(["28", *ordered]).encode()).hexdigest()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_that_does_not_decode_stops_the_run_before_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, split: str
) -> None:
    monkeypatch.setattr("attrobust.benchmark.checkpoints.find.train", _never)
    victim = sorted((folder / split / "digit1").iterdir())[-1]
    victim.write_bytes(victim.read_bytes()[:60])
    code, _, err = run(words(folder, tmp_path / "run"), capsys)
    assert code == 2
    assert f"{victim} does not decode" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("size", [(400, 1), (1, 400)])
def test_a_file_too_long_to_be_scaled_is_named_before_it_is(
    size: tuple[int, int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attrobust.benchmark.data.preparation.SCALED", 28 * 28 * 400 - 1)
    long = folder / "test" / "digit0" / "long.png"
    Image.new("1", size).save(long)
    split = ImageFolder(size=28).load(folder).splits["test"]
    with pytest.raises(UsageError, match=rf"{long} is {size[0]}×{size[1]}, which scaled to .* is too large; crop it"):
        assert split.sha256


def test_an_image_that_is_gone_after_the_start_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{IMAGES}.CACHE_BYTES", 0)
    split = ImageFolder(size=28).load(folder).splits["test"]
    assert split.sha256
    next((folder / "test" / "digit0").iterdir()).unlink()
    with pytest.raises(UsageError, match="png cannot be read: No such file or directory"):
        split.batch(range(len(split)))


def _never(*_args: object, **_options: object) -> None:
    raise AssertionError("trained")


def test_a_class_folder_that_cannot_be_read_is_not_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def denied(path: Any = ".") -> Any:
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    (folder / "train" / "digit0" / "inner").mkdir()
    with pytest.raises(UsageError, match="inner cannot be read: Permission denied"):
        ImageFolder(size=28).load(folder)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.png", "link.png cannot be read: No such file"),
        ("link.png", "link.png cannot be read: Too many levels"),
    ],
)
def test_a_link_that_leads_nowhere_is_an_error(folder: Path, target: str, message: str) -> None:
    (folder / "train" / "digit0" / "link.png").symlink_to(target)
    with pytest.raises(UsageError, match=message):
        ImageFolder(size=28).load(folder)


def test_linked_folders_are_followed_and_one_that_leads_back_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    Image.new("L", (28, 28), 9).save(tmp_path / "more" / "x.png")
    (folder / "test" / "digit0" / "more").symlink_to(tmp_path / "more")
    assert len(ImageFolder(size=28).load(folder).splits["test"]) == 13
    (tmp_path / "more" / "back").symlink_to(tmp_path / "more")
    with pytest.raises(UsageError, match="back is a link to a folder that it lies in"):
        ImageFolder(size=28).load(folder)


def test_files_that_are_no_images_are_counted_by_ending_and_hidden_ones_are_not(folder: Path, said: list[str]) -> None:
    for name in ("digit0/a.gif", "digit1/b.GIF", "digit1/notes.txt", "README", "digit1/.DS_Store", ".cache"):
        (folder / "test" / name).write_bytes(b"")
    victim = next((folder / "test" / "digit0").glob("*.png"))
    victim.rename(victim.with_suffix(".PNG"))
    assert len(ImageFolder(size=28).load(folder).splits["test"]) == 12
    (line,) = said
    assert "4 files left out: no ending (1), .gif (2), .txt (1); read are .bmp" in line


def test_a_folder_of_images_alone_is_read_without_a_word(folder: Path, said: list[str]) -> None:
    assert ImageFolder(size=28).load(folder).splits["test"].sha256
    assert said == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_class_folder_is_an_error_and_shifts_no_classes(folder: Path, split: str) -> None:
    (folder / split / "digit00").mkdir()
    with pytest.raises(UsageError, match=r"class folder .*digit00 holds no image files .*classes are numbered"):
        ImageFolder(size=28).load(folder)


def scan(bands: int, bits: int) -> Values:
    """A scan of a digit with data of so many bits; the bands differ."""
    image = load_digits().images[3][:, :, None] * (1 - 0.1 * np.arange(bands)) / 16
    return (image * (2**bits - 1)).round().astype(np.uint16)


def pixels(content: bytes, depth: int | None = None) -> NDArray[np.uint8]:
    return np.asarray(decode(content, depth).image)


def colours(values: Values) -> Values:
    """The three channels that are read of bands."""
    return values[..., :3] if values.shape[2] >= 3 else values[..., [0, 0, 0]]


bands = pytest.mark.parametrize("bands", [1, 2, 3, 4], ids=["grey", "grey with alpha", "RGB", "RGB with alpha"])


@bands
def test_sixteen_bits_are_read_by_their_high_byte_or_by_the_depth_that_is_said(bands: int) -> None:
    full, few = scan(bands, 16), scan(bands, 12)
    assert np.array_equal(pixels(png16(full)), colours(full) >> 8)
    assert np.array_equal(pixels(png16(few), 12), colours(few) >> 4)
    with pytest.raises(ValueError, match=r"the value \d{5}, and depth=12 ends at 4095"):
        decode(png16(full), 12)


@bands
def test_a_png_that_states_its_bits_is_scaled_whether_its_data_lie_low_or_fill_the_sixteen(bands: int) -> None:
    few = scan(bands, 12)
    repeated = ((few << 4) | (few >> 8)).astype(np.uint16)
    dark = (few >> 5).astype(np.uint16)
    for values, wanted in (
        (few, few >> 4),
        (repeated, few >> 4),
        ((few << 4).astype(np.uint16), few >> 4),
        ((dark << 4).astype(np.uint16), dark >> 4),
    ):
        for depth in (None, 10):
            assert np.array_equal(pixels(png16(values, significant_bits=12), depth), colours(wanted))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"byteorder": ">"}], ids=["plain", "compressed", "big-endian"]
)
def test_a_tiff_is_scaled_by_the_largest_value_it_states(bands: int, options: dict[str, Any]) -> None:
    tifffile = pytest.importorskip("tifffile")
    few = scan(bands, 12)

    def written(**more: Any) -> bytes:
        buffer = io.BytesIO()
        kind = "rgb" if bands == 3 else "minisblack"
        tifffile.imwrite(buffer, few.squeeze(), photometric=kind, **options, **more)
        return buffer.getvalue()

    assert np.array_equal(pixels(written()), colours(few) >> 8)
    assert np.array_equal(pixels(written(), 12), colours(few) >> 4)
    assert np.array_equal(pixels(written(extratags=[(281, 3, 1, 4095, True)])), colours(few) >> 4)


@pytest.mark.parametrize(("magic", "bands"), [(b"P5", 1), (b"P6", 3)])
def test_a_netpbm_file_is_scaled_by_its_header(magic: bytes, bands: int) -> None:
    few = scan(bands, 12)
    content = magic + b" 8 8 4095\n" + few.astype(">u2").tobytes()
    assert np.abs(pixels(content) - colours(few) / 4095 * 255).max() < 1


def in_sixteen(folder: Path, shift: int) -> None:
    """Write every image again in 16 bits, shifted to the left."""
    for path in folder.rglob("*.png"):
        values = np.asarray(Image.open(path)).astype(np.uint16) << shift
        path.write_bytes(png16(values[:, :, None].repeat(3, axis=2)))


def test_dark_data_of_unknown_depth_are_said_and_the_setting_mends_them(folder: Path, said: list[str]) -> None:
    bright = ImageFolder(size=28).load(folder).splits["test"].pixels(range(12))
    in_sixteen(folder, 4)
    dark = ImageFolder(size=28).load(folder).splits["test"]
    assert dark.sha256
    assert dark.pixels(range(12)).max() == bright.max() // 16
    (line,) = said
    assert "split test no file of 16 bits has a value above 4080 of 65535" in line
    assert "imagefolder:depth=12" in line
    mended = ImageFolder(size=28, depth=12).load(folder).splits["test"]
    assert mended.sha256 == dark.sha256
    assert torch.equal(mended.pixels(range(12)), bright)
    assert ImageFolder(size=28, depth=16).load(folder).splits["test"].sha256
    assert len(said) == 1, "with a depth there is nothing to warn of"
    with pytest.raises(UsageError, match=r"png does not decode .it has the value \d+, and depth=11 ends at 2047"):
        assert ImageFolder(size=28, depth=11).load(folder).splits["test"].sha256


def test_data_that_fill_sixteen_bits_are_read_without_a_word(folder: Path, said: list[str]) -> None:
    bright = ImageFolder(size=28).load(folder).splits["test"].pixels(range(12))
    in_sixteen(folder, 8)
    split = ImageFolder(size=28).load(folder).splits["test"]
    assert split.sha256
    assert torch.equal(split.pixels(range(12)), bright)
    assert said == []


@pytest.mark.parametrize("depth", [7, 17])
def test_a_depth_that_no_file_has_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="between 8 and 16 bits"):
        ImageFolder(depth=depth)


@pytest.mark.parametrize(
    ("convert", "levels"),
    [
        (lambda image: image.convert("P"), 0),
        (lambda image: image.convert("RGBA"), 0),
        (lambda image: image.convert("LA"), 0),
        (lambda image: image.point(lambda v: 255 * (v > 127)).convert("1"), 128),
    ],
    ids=["palette", "RGBA", "LA", "one bit"],
)
def test_other_kinds_of_pixels_keep_their_brightness(
    folder: Path, convert: Callable[[Image.Image], Image.Image], levels: int
) -> None:
    path = next((folder / "test").rglob("*.png"))
    grey = np.asarray(Image.open(path)).astype(int)
    buffer = io.BytesIO()
    convert(Image.open(path).convert("L")).save(buffer, "PNG")
    assert np.abs(pixels(buffer.getvalue()) - grey[:, :, None]).max() <= levels
