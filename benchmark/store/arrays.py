"""What is stored for each image: the arrays of an ``.npz`` file, read without what NumPy does for files of any kind."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from attrobust.arrays import Booleans, Floats, Integers

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
END, ENTRY = struct.Struct("<4s4H2LH"), struct.Struct("<4s6H3L5H2L")
"""Of a zip file: the record at its end, and that of each file in it."""
DEFLATED, LONG = 8, 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """What was stored of a row.

    Attributes:
        scores: one for each image.
        feasible: whether the attack on each obeyed the rules.
        worst: the member behind each score, an index or -1; empty where nobody wrote them.
        members: their names.
    """

    scores: Floats
    feasible: Booleans
    worst: Integers
    members: list[str]


def arrays_of(data: bytes, names: Container[str]) -> dict[str, Array]:
    """Some arrays of a file whose hash is known, by name; those that it lacks are left out.

    What does not look like a file that ``numpy.savez_compressed`` wrote is left to NumPy.
    """
    found = _arrays(data, names)
    if found is None:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files if name in names}
    return found


def _arrays(data: bytes, names: Container[str]) -> dict[str, Array] | None:
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
        start += 30 + sum(struct.unpack_from("<2H", data, start + 26))
        array = _array(zlib.decompress(memoryview(data)[start : start + packed], -zlib.MAX_WBITS, size))
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
