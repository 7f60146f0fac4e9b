"""What is stored for each image: the arrays of an ``.npz`` file, read without what NumPy does for files of any kind."""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attrobust.arrays import Booleans, Floats, Integers

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
END, ENTRY = struct.Struct("<4s4H2LH"), struct.Struct("<4s6H3L5H2L")
"""Of a zip file: the record at its end, and that of each file in it."""
DEFLATED, LONG = 8, 0xFFFFFFFF


ROOM, ROOM_PER_IMAGE, MOST = 2**20, 64, 10**8
"""Bytes that an array may have: those of any, those for each image, and the most images that these are granted for."""


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """What was stored of a row.

    Attributes:
        scores: one for each image.
        feasible: whether the attack on each obeyed the rules.
        worst: the member behind each score, an index or -1; empty where nobody wrote them.
        members: their names.

    Raises:
        ValueError: it is not one number, or truth, for each image, or the members are not such.
    """

    scores: Floats
    feasible: Booleans
    worst: Integers
    members: list[str]

    def __post_init__(self) -> None:
        shape = self.scores.shape
        if len(shape) != 1 or self.scores.dtype.kind != "f":
            raise ValueError("scores are not a number for each image")
        if self.feasible.shape != shape or self.feasible.dtype.kind != "b":
            raise ValueError("feasible is not a truth for each image")
        if self.worst.size == 0 and not self.members:
            return
        if self.worst.shape != shape or self.worst.dtype.kind != "i" or not all(map(_is_text, self.members)):
            raise ValueError("worst and members are not an index for each image, and names")
        if shape[0] and not -1 <= self.worst.min() <= self.worst.max() < len(self.members):
            raise ValueError("worst has an index of no member")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def arrays_of(data: bytes, names: Container[str], images: int) -> dict[str, Array]:
    """Some arrays of a file whose hash is known, by name; those that it lacks are left out.

    What does not look like a file that ``numpy.savez_compressed`` wrote is left to NumPy.

    Args:
        data: the file.
        names: of the arrays.
        images: that the arrays are about; much larger ones are not unpacked.

    Raises:
        ValueError: it is no file of plain arrays of that size.
    """
    most = ROOM + ROOM_PER_IMAGE * min(images, MOST)
    try:
        found = _arrays(data, names, most)
        if found is None:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                _check_sizes(arrays.zip.infolist(), most)
                found = {name: arrays[name] for name in arrays.files if name in names}
    except Exception as error:  # Whatever somebody put there is no reason to fail.
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return found


def _check_sizes(files: Sequence[zipfile.ZipInfo], most: int) -> None:
    if any(file.file_size > most for file in files):
        raise ValueError("an array is larger than those of so many images")


def _arrays(data: bytes, names: Container[str], most: int) -> dict[str, Array] | None:
    """None where a file is of another form."""
    if len(data) < END.size:
        return None
    signature, _, _, _, count, _, at, comment = END.unpack_from(data, len(data) - END.size)
    if signature != b"PK\5\6" or comment:
        return None
    found = {}
    for _ in range(count):
        entry = ENTRY.unpack_from(data, at)
        method, packed, size, name_size, extra, remark, start = *entry[4:5], *entry[8:10], *entry[10:13], entry[16]
        name = data[at + ENTRY.size : at + ENTRY.size + name_size].decode().removesuffix(".npy")
        at += ENTRY.size + name_size + extra + remark
        if name not in names:
            continue
        if method != DEFLATED or LONG in (packed, size, start):
            return None
        if size > most:
            raise ValueError("an array is larger than those of so many images")
        start += 30 + sum(struct.unpack_from("<2H", data, start + 26))
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(memoryview(data)[start : start + packed], size)
        array = _array(content)
        if array is None:
            return None
        found[name] = array
    return found


def _array(content: bytes) -> Array | None:
    start = 10 + int.from_bytes(content[8:10], "little")
    shape, kind = _header(content[:start])
    return None if kind is None else np.frombuffer(content, kind, offset=start).reshape(shape).copy()


@functools.lru_cache(maxsize=1024)
def _header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any] | None]:
    """Shape and type; no type where the array is none that is simply read."""
    if header[:8] != b"\x93NUMPY\x01\x00":
        return (), None
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    return shape, None if by_columns or kind.hasobject else kind
