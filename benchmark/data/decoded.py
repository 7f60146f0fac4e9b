"""Decoded images on disk, so that each file is decoded once however often its pixels are asked for."""

from __future__ import annotations

import tempfile
import threading
from typing import IO

import torch
from torch import Tensor


class DecodedImages:
    """Images of one shape in an unnamed temporary file, which the system removes with the process.

    Several threads may use it. What finds no room, or cannot be written, is not kept.

    Args:
        shape: C, H and W of every image.
        room: bytes of the file at most.
    """

    def __init__(self, shape: tuple[int, int, int], room: int) -> None:
        self._shape, self._bytes = shape, shape[0] * shape[1] * shape[2]
        self._most = room // self._bytes
        self._places: dict[int, int] = {}
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def get(self, index: int) -> Tensor | None:
        """The image kept under a number, uint8 C×H×W; None where none is."""
        with self._lock:
            place = self._places.get(index)
            if place is None or self._file is None:
                return None
            self._file.seek(place * self._bytes)
            content = bytearray(self._file.read(self._bytes))
        return torch.frombuffer(content, dtype=torch.uint8).view(self._shape)

    def keep(self, index: int, image: Tensor) -> None:
        """Keep an image, uint8 C×H×W, under a number."""
        with self._lock:
            place = len(self._places)
            if index in self._places or place >= self._most:
                return
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
                self._file.seek(place * self._bytes)
                if self._file.write(image.contiguous().numpy().tobytes()) != self._bytes:
                    raise OSError
            except OSError:
                self._most = place
                return
            self._places[index] = place
