"""Image files: damaged ones decode or are refused in words, whatever Pillow raises."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attrobust.benchmark.data.decode import DecodeError, decode, size_of

from helpers.fuzz import BYTES, mutated, tried


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


COLOUR = Image.fromarray(np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3))
DEEP = Image.fromarray((np.arange(120, dtype=np.uint16) * 500).reshape(12, 10))
FILES = {
    "jpeg": encoded(COLOUR, "JPEG"),
    "progressive jpeg": encoded(COLOUR, "JPEG", progressive=True),
    "jpeg in cmyk": encoded(COLOUR.convert("CMYK"), "JPEG"),
    "png": encoded(COLOUR, "PNG"),
    "animated png": encoded(COLOUR, "PNG", save_all=True, append_images=[COLOUR.rotate(90)]),
    "palette": encoded(COLOUR.quantize(8), "PNG", transparency=bytes(range(8))),
    "16 bits": encoded(DEEP, "PNG"),
    "bmp": encoded(COLOUR, "BMP"),
    "webp": encoded(COLOUR, "WEBP"),
    "ppm": encoded(COLOUR, "PPM"),
    "tiff": encoded(COLOUR, "TIFF"),
    "tiff in lzw": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    "tiff of 16 bits": encoded(DEEP, "TIFF"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_decodes_or_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    def attempt(seed: int) -> None:
        content = mutated(FILES[name], random.Random(seed))
        for read in (lambda: decode(content, None), lambda: decode(content, 12), lambda: size_of(content)):
            try:
                read()
            except DecodeError as error:
                assert str(error).strip()
                assert "0x" not in str(error), "an address in memory says nothing"

    tried(request, BYTES, attempt)
