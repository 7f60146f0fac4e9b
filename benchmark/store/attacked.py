"""Whether the bytes of an attack's results have the form in which they are kept; see ``evaluation.kept``. No torch."""

from __future__ import annotations

import io
import math
import zlib

import numpy as np

CHUNK = 2**20
"""Bytes that are in memory at once while they are counted."""


def are_results(data: bytes, count: int) -> bool:
    """Whether bytes are results for so many images, whatever the images are."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            shape, sources = arrays["shape"].tolist(), arrays["sources"]
            members, feasible = arrays["members"], arrays["feasible"]
            return (
                len(shape) == 5
                and shape[1] == count
                and min(shape) > 0
                and _expanded(arrays["moved"].tobytes()) in (4 * math.prod(shape), 8 * math.prod(shape))
                and (feasible.dtype, feasible.shape) == (np.dtype(bool), (count,))
                and (sources.dtype, sources.shape) == (np.dtype(np.int64), (shape[0], count))
                and (members.dtype.kind, members.ndim) == ("U", 1)
                and bool(((sources >= -1) & (sources < len(members))).all())
                and (arrays["passes"].dtype.kind, arrays["passes"].shape) == ("i", (3,))
                and bool((arrays["passes"] >= 0).all())
            )
    except Exception:  # NumPy, zip files and zlib raise errors of many classes.
        return False


def _expanded(packed: bytes) -> int:
    """Bytes that packed ones become."""
    unpacking, size = zlib.decompressobj(), 0
    while packed and not unpacking.eof:
        size += len(unpacking.decompress(packed, CHUNK))
        packed = unpacking.unconsumed_tail
    while not unpacking.eof and (rest := unpacking.decompress(b"", CHUNK)):
        size += len(rest)
    return size if unpacking.eof else 0
