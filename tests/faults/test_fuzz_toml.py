"""TOML files of people: a protocol, a recipe or a card that is not what it should be is refused in words."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from attrobust.benchmark.checkpoints.card import SHIPPED, WeightCard
from attrobust.benchmark.request.parts import load_parts
from attrobust.benchmark.request.protocol import FOLDER as PROTOCOLS
from attrobust.benchmark.training.recipe import FOLDER as RECIPES
from attrobust.benchmark.training.recipe import load_recipe

from helpers.fuzz import BYTES, mutated, refused_or_taken, tried

READERS: dict[str, tuple[Path, Callable[[Path], object]]] = {
    "protocol": (PROTOCOLS / "standard.toml", lambda path: load_parts(str(path))),
    "protocol with parts": (PROTOCOLS / "fashion-v1.toml", lambda path: load_parts(str(path))),
    "recipe": (RECIPES / "digits.toml", lambda path: load_recipe(str(path), None)),
    "card": (SHIPPED / "digits" / "aga.toml", WeightCard.read),
}
VALUES = (
    "''",
    "[]",
    "{}",
    "0",
    "-1",
    "1e999",
    "nan",
    "true",
    "[['a']]",
    "1979-05-27",
    "'8/255'",
    "['']",
    "'\\u0000'",
    "9" * 30,
)


def edited(text: str, rng: random.Random) -> bytes:
    """A TOML file with other values, keys and lines, and now and then other bytes."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        key, equals, _ = lines[at].partition(" = ")
        kind = rng.randrange(4)
        if kind == 0:
            del lines[at]
            lines = lines or [""]
        elif kind == 1 and equals:
            lines[at] = f"{key} = {rng.choice(VALUES)}"
        elif kind == 2 and equals:
            lines[at] = lines[at].replace(key, key + rng.choice(["x", ".x", " ", "-"]), 1)
        else:
            lines.insert(at, rng.choice(lines))
    content = "\n".join(lines).encode()
    return mutated(content, rng) if rng.random() < 0.3 else content


@pytest.mark.parametrize("kind", READERS)
def test_a_file_is_read_or_refused(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source, read = READERS[kind]
    text, path = source.read_text(), tmp_path / "mine.toml"

    def attempt(seed: int) -> None:
        path.write_bytes(edited(text, random.Random(seed)))
        refused_or_taken(lambda: read(path))

    tried(request, BYTES, attempt)
