"""Weight files: damaged ones are read as what they are, or refused in words."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest
import torch

from attrobust.benchmark.checkpoints.holders import read_states
from attrobust.benchmark.checkpoints.state_dict import load_states
from attrobust.benchmark.models.lenet import LeNet
from attrobust.types import ImageFacts

from helpers.fuzz import BYTES, mutated, refused_or_taken, tried

GREY = ImageFacts(channels=1, size=28, classes=10, mean=(0.306,), std=(0.324,))
FAMILY = LeNet(width=2, hidden=4)


def saved(value: object, *, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def safetensors(state: dict[str, torch.Tensor]) -> bytes:
    """A file of the format safetensors: the length of a header, the header, and the numbers."""
    header, data = {}, b""
    for name, tensor in state.items():
        numbers = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(numbers)],
        }
        data += numbers
    text = str(header).replace("'", '"').encode()
    return len(text).to_bytes(8, "little") + text + data


def repacked(content: bytes, rng: random.Random) -> bytes:
    """A file of torch.save with one of its members damaged, and checksums that fit."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as target:
        names = source.namelist()
        victim = rng.choice([name for name in names if name.endswith(("data.pkl", "version", "byteorder"))] + names[:1])
        for name in names:
            data = source.read(name)
            target.writestr(name, mutated(data, rng) if name == victim else data)
    return buffer.getvalue()


STATE = {
    name: torch.arange(value.numel()).view(value.shape).float()
    for name, value in FAMILY.build(GREY).state_dict().items()
}
FILES = {
    "torch": (saved(STATE), mutated),
    "torch, repacked": (saved({"state_dict": STATE, "epoch": 3}), repacked),
    "torch before 1.6": (saved(STATE, old=True), mutated),
    "safetensors": (safetensors(STATE), mutated),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    content, damage = FILES[name]
    path = tmp_path / ("weights.safetensors" if name == "safetensors" else "weights.pt")

    def attempt(seed: int) -> None:
        path.write_bytes(damage(content, random.Random(seed)))
        refused_or_taken(lambda: load_states(FAMILY.build(GREY), read_states(path)[0], str(path)))

    tried(request, BYTES, attempt)
