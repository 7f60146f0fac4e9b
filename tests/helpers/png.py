"""PNG files of 16 bits, which Pillow writes only in grey."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""By number of bands: grey, grey with alpha, RGB, RGB with alpha."""


def png16(values: NDArray[np.uint16], significant_bits: int = 0) -> bytes:
    """A file with these values, H×W×bands, and a chunk sBIT where ``significant_bits`` is above 0."""
    height, width, bands = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[bands], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    bits = _chunk(b"sBIT", bytes([significant_bits] * bands)) if significant_bits else b""
    parts = [_chunk(b"IHDR", header), bits, _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
