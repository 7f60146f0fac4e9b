"""Files that begin with a digest of their contents, so that damage is known when they are read."""

from __future__ import annotations

import hashlib

SIZE = 32
"""Bytes of a digest."""


def sealed(data: bytes, place: str = "") -> bytes:
    """What is written of some contents; with a place, a file that changed places is known too."""
    return _digest(data, place) + data


def opened(whole: bytes, place: str = "") -> bytes | None:
    """The contents of a file; None where it is damaged, or another's."""
    data = whole[SIZE:]
    return data if whole[:SIZE] == _digest(data, place) else None


def _digest(data: bytes, place: str) -> bytes:
    return hashlib.sha256(place.encode() + b"\0" + data).digest()
