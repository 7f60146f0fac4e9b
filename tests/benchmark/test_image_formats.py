"""What of an image file is read, and which files are refused, whatever their ending."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attrobust.benchmark.data import decode as decoding
from attrobust.benchmark.data.decode import DecodeError, decode, size_of
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.types import UsageError

COLOUR = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def same(content: bytes, wanted: Image.Image) -> bool:
    return np.array_equal(np.asarray(decode(content, None).image), np.asarray(wanted))


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_formats_without_loss_are_read_to_the_pixel(form: str) -> None:
    assert same(encoded(COLOUR, form), COLOUR)


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_formats_with_loss_are_read(form: str) -> None:
    assert decode(encoded(COLOUR, form), None).image.size == COLOUR.size


@pytest.mark.parametrize("form", ["EPS", "GIF", "ICO", "PDF", "TGA"])
def test_other_formats_are_refused_and_no_program_is_started(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: object, **_options: object) -> None:
        raise AssertionError("started a program")

    content = encoded(COLOUR, form)
    monkeypatch.setattr(subprocess, "check_call", never)
    monkeypatch.setattr(subprocess, "Popen", never)
    for read in (lambda: decode(content, None), lambda: size_of(content)):
        with pytest.raises(DecodeError, match="it is none of JPEG, PNG, BMP, WEBP, PPM, TIFF"):
            read()


def test_a_file_of_another_format_in_a_folder_is_named(tmp_path: Path) -> None:
    for number, name in enumerate(("test/a", "test/b")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0.png").write_bytes(encoded(COLOUR, "PNG" if number else "EPS"))
    with pytest.raises(UsageError, match=r"a/0\.png does not decode \(it is none of .*\); mend or remove it"):
        assert ImageFolder(size=4).load(tmp_path).splits["test"].sha256


@pytest.mark.parametrize("pixels", [62, 30])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_file_of_too_many_pixels_is_refused_before_it_is_decoded(
    pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With half of them Pillow itself refuses."""
    content = encoded(COLOUR, "PNG")
    monkeypatch.setattr(decoding, "PIXELS", pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(DecodeError, match="63 pixels"):
        decode(content, None)


def test_limits_are_those_of_pillow_and_a_file_at_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoding.PIXELS == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(decoding, "PIXELS", 63)
    assert same(encoded(COLOUR, "PNG"), COLOUR)


def test_of_several_frames_and_pages_the_first_is_read() -> None:
    more = [COLOUR.rotate(180), COLOUR.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    for form in ("PNG", "TIFF"):
        assert same(encoded(COLOUR, form, save_all=True, append_images=more), COLOUR)


def test_a_note_that_the_camera_was_turned_is_not_followed() -> None:
    note = Image.Exif()
    note[0x112] = 6
    assert same(encoded(COLOUR, "PNG", exif=note), COLOUR)


@pytest.mark.filterwarnings("error")
def test_transparency_is_left_out_of_palettes_too() -> None:
    clear = COLOUR.copy()
    clear.putalpha(Image.fromarray(np.arange(63, dtype=np.uint8).reshape(9, 7)))
    assert same(encoded(clear, "PNG"), COLOUR)
    palette = COLOUR.quantize(16)
    assert same(encoded(palette, "PNG", transparency=bytes(range(16))), palette.convert("RGB"))
    assert same(encoded(palette, "PNG", transparency=3), palette.convert("RGB"))


def test_cmyk_becomes_rgb_by_pillows_formula() -> None:
    inks = COLOUR.convert("CMYK")
    assert same(encoded(inks, "TIFF"), inks.convert("RGB"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_a_file_that_is_cut_off_is_refused() -> None:
    image = COLOUR.resize((70, 90))
    for form in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM"):
        content = encoded(image, form)
        for kept in (len(content) // 2, 20, 1, 0):
            with pytest.raises(DecodeError):
                decode(content[:kept], None)
