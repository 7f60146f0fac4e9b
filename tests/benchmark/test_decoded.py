"""Decoded images are kept on disk and are what was kept; images of a run are read when they are used."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from attrobust.benchmark.data.base import ArraySplit, partners
from attrobust.benchmark.data.decoded import DecodedImages
from attrobust.benchmark.executors.inputs import images_of

SHAPE = (3, 4, 4)


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_what_was_kept_is_what_is_handed_out() -> None:
    kept, wanted = DecodedImages(SHAPE, 1 << 20), images(20)
    with ThreadPoolExecutor() as pool:
        list(pool.map(kept.keep, reversed(range(20)), wanted.flip(0)))
        found = list(pool.map(kept.get, range(20)))
    assert all(image is not None and torch.equal(image, wanted[i]) for i, image in enumerate(found))
    assert kept.get(20) is None


def test_what_is_handed_out_is_a_copy() -> None:
    kept, wanted = DecodedImages(SHAPE, 1 << 20), images(1)
    kept.keep(0, wanted[0])
    found = kept.get(0)
    assert found is not None
    found.zero_()
    again = kept.get(0)
    assert again is not None and torch.equal(again, wanted[0])


def test_what_finds_no_room_is_not_kept() -> None:
    kept = DecodedImages(SHAPE, 2 * 48 + 47)
    for i, image in enumerate(images(3)):
        kept.keep(i, image)
    assert [kept.get(i) is not None for i in range(3)] == [True, True, False]


def test_a_full_disk_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self) -> None:
            self.inner, self.writes = real(buffering=0), 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def write(self, content: bytes) -> int:
            self.writes += 1
            if self.writes > 1:
                raise OSError(28, "No space left on device")
            return self.inner.write(content) or 0

    real = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    kept = DecodedImages(SHAPE, 1 << 20)
    for i, image in enumerate(images(3)):
        kept.keep(i, image)
    assert [kept.get(i) is not None for i in range(3)] == [True, False, False]


def test_images_of_a_run_are_read_when_they_are_used() -> None:
    class Noted(ArraySplit):
        def pixels(self, indices: Sequence[int]) -> Tensor:
            read.extend(int(i) for i in indices)
            return super().pixels(indices)

    read: list[int] = []
    split = Noted(images(12), torch.arange(12) % 3)
    listed = images_of(split, 10)
    assert len(listed) == 10
    assert not read
    part = listed.take(range(4, 7))
    others = partners(split, 10)[4:7]
    assert read == [4, 5, 6, *others]
    assert torch.equal(part.x, split.batch(range(4, 7))[0])
    assert torch.equal(part.partners, split.batch(others)[0])
    assert part.y.tolist() == [1, 2, 0]
