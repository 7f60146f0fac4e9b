"""Image files as 8-bit RGB. Data of more bits are scaled by their depth, which not every file states."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from attrobust.arrays import Integers

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
"""What files may be, by Pillow's names, whatever their ending; for some of its others it starts programs."""
PIXELS = 89_478_485
"""Of a file at most: 256 MiB in three channels."""
MAX_SAMPLE_VALUE, BITS_PER_SAMPLE = 281, 258
"""Tags of TIFF."""
OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Of the two bytes of a sample, the order that has the other one first, by Pillow's letters."""


class DecodeError(ValueError):
    """A file does not decode."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The contents of an image file.

    Attributes:
        image: RGB, 8 bits.
        largest: largest value of a file of 16 bits that does not state the depth of its data; 0 for every other file.
    """

    image: Image.Image
    largest: int


def decode(content: bytes, depth: int | None) -> Decoded:
    """Decode a file: of several frames the first, as its rows are stored, without transparency.

    Args:
        content: its bytes.
        depth: bits of the data in files of 16 bits that do not state it; None for all 16.

    Raises:
        DecodeError: it does not decode, has too many pixels, or has a value of more bits.
    """
    try:
        return _decoded(content, depth)
    except DecodeError:
        raise
    except Exception as error:  # Of a damaged file Pillow raises whatever its readers run into.
        raise DecodeError(" ".join(str(error).split()) or type(error).__name__) from error


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of the image in a file; raises DecodeError."""
    try:
        with _opened(content) as opened:
            return opened.size
    except DecodeError:
        raise
    except Exception as error:  # See ``decode``.
        raise DecodeError(" ".join(str(error).split()) or type(error).__name__) from error


def _opened(content: bytes) -> ImageFile.ImageFile:
    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise DecodeError(f"it is none of {', '.join(FORMATS)}") from None
    if (pixels := opened.width * opened.height) > PIXELS:
        raise DecodeError(f"it has {pixels} pixels, and {PIXELS} are the most; scale it down")
    return opened


def _decoded(content: bytes, depth: int | None) -> Decoded:
    with _opened(content) as opened:
        values = _samples(opened, content)
        if values is None:
            if opened.mode in ("I", "F"):
                raise DecodeError(f"pixel mode {opened.mode} has no fixed range; convert it to 8 bits")
            if opened.mode == "P":
                opened.load()
                opened.info.pop("transparency", None)
            return Decoded(image=opened.convert("RGB"), largest=0)
        stated = _stated_depth(opened, content, values)
    largest, bits = int(values.max()), stated or depth or 16
    if largest >= 2**bits:
        raise DecodeError(f"it has the value {largest}, and depth={bits} ends at {2**bits - 1}")
    image = Image.fromarray((values >> (bits - 8)).astype(np.uint8)).convert("RGB")
    return Decoded(image=image, largest=0 if stated else largest)


def _samples(opened: ImageFile.ImageFile, content: bytes) -> Integers | None:
    """Values of a file of more than 8 bits, H×W or H×W×3; None for others. Transparency is left out."""
    if opened.mode.startswith("I;16") or (opened.mode == "I" and opened.format in ("PNG", "PPM")):
        return np.asarray(opened).astype(np.int64)
    layout = next((layout for layout in map(_layout, opened.tile) if ";16" in layout), "")
    if not layout:
        return None
    bands, order = layout.split(";16")
    if layout == "LA;16B":
        # Two samples of two bytes are read as four of one.
        high, low = np.split(_bytes(content, "RGBA")[..., :2], 2, axis=2)
        return (256 * high + low)[..., 0]
    if bands not in ("RGB", "RGBA", "RGBX") or order not in OTHER_ORDER:
        raise DecodeError(f"its 16-bit layout {layout} is not known; save it as 16-bit RGB or with 8 bits")
    # Pillow keeps the high byte of every sample; told of the other order it keeps the low one.
    low = _bytes(content, f"{bands};16{OTHER_ORDER[order]}")
    return (256 * np.asarray(opened).astype(np.int64) + low)[..., :3]


def _layout(tile: Any) -> str:
    """How samples lie in a part of a file, in Pillow's words."""
    arguments = tile[3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_layout(tile: Any, layout: str) -> Any:
    """A part of a file with its samples in another layout; Pillow before 11 has plain tuples."""
    arguments = (layout, *tile[3][1:]) if isinstance(tile[3], tuple) else layout
    make = getattr(type(tile), "_make", tuple)
    return make((*tile[:3], arguments))


def _bytes(content: bytes, layout: str) -> Integers:
    """The file read as if its samples lay in another way, H×W×bands."""
    with _opened(content) as opened:
        opened.tile = [_with_layout(tile, layout) for tile in opened.tile]
        return np.asarray(opened).astype(np.int64)


def _stated_depth(opened: ImageFile.ImageFile, content: bytes, values: Integers) -> int | None:
    """Bits of the data as far as the file states them."""
    if opened.format == "PPM":
        return 16  # Pillow scales by the header's largest value.
    if opened.format == "TIFF":
        return _depth_of_tiff(opened, int(values.max()))
    bits = _significant_bits(content)
    return (16 if _fills(values, bits) else bits) if bits else None


def _depth_of_tiff(opened: ImageFile.ImageFile, largest: int) -> int | None:
    """From the bits of a sample, or from the largest value where that is the largest of a whole number of bits."""
    tags: Any = opened.tag_v2  # type: ignore[attr-defined]
    bits, top = (max(np.atleast_1d(tags.get(tag, 16))) for tag in (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
    if 8 < bits < 16:
        return int(bits)
    depth = int(top).bit_length()
    return depth if 8 < depth <= 16 and top == 2**depth - 1 and largest <= top else None


def _significant_bits(content: bytes) -> int:
    """Of the colours of a PNG of 16 bits, as its chunk sBIT says; 0 where it says nothing."""
    for kind, data in _chunks(content):
        if kind == b"sBIT":
            has_alpha = content[25] & 4
            bits = max(data[:-1] if has_alpha else data, default=0)
            return bits if 8 <= bits <= 16 else 0
    return 0


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG before its pixels."""
    at = 8
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"IDAT":
            return
        yield kind, content[at + 8 : at + 8 + length]
        at += length + 12


def _fills(values: Integers, bits: int) -> bool:
    """Whether data of so many bits were scaled up to 16, as PNG wants it, and do not lie in the low bits.

    Scaled values are multiples of ``2 ** (16 - bits)``, or repeat the high bits below, up to rounding.
    """
    if int(values.max()) >= 2**bits:
        return True
    source = values >> (16 - bits)
    below = values - (source << (16 - bits))
    return bool(((below == 0) | (np.abs(below - (source >> (2 * bits - 16))) <= 1)).all())
