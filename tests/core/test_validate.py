"""What does not have its type is named: where it stands, what it is, and what it must be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
import pytest

from attrobust.naming import toml
from attrobust.naming.validate import MisfitError, as_json, check_types, parsed, validated
from attrobust.types import UsageError


class Spot(TypedDict, total=False):
    x: int
    y: int


class Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Literal["a", "b"]
    pair: tuple[float | None, float | None]
    spots: tuple[Spot, ...] = ()


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    inner: Inner
    named: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    maybe: Inner | None = None


GOOD = {"inner": {"kind": "a", "pair": [1, None], "spots": [{"x": 1}, {}]}, "named": {"q": {"n": 1}}, "maybe": None}


def changed(*keys: str | int, value: object = None, lose: bool = False) -> Any:
    """``GOOD`` with something else at a place, or without it."""
    found: Any = json.loads(json.dumps(GOOD))
    inner = found
    for key in keys[:-1]:
        inner = inner[key]
    if lose:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return found


def test_what_has_its_type_is_read_and_written_back() -> None:
    found = validated(GOOD, Outer)
    assert found.inner.pair == (1.0, None)
    assert found.inner.spots == ({"x": 1}, {})
    assert json.loads(json.dumps(as_json(found))) == GOOD
    assert list(as_json(found)) == sorted(GOOD)


@pytest.mark.parametrize(
    ("value", "place", "problem"),
    [
        ([], "", "must be dict, not []"),
        (None, "", "must be dict, not None"),
        (changed("inner", lose=True), "inner", "is missing"),
        (changed("inner", "pair", lose=True), "inner.pair", "is missing"),
        (changed("inner", "colour", value=1), "inner.colour", "is not known"),
        (changed("inner", "kind", value="c"), "inner.kind", "'c' is not one of a, b"),
        (changed("inner", "kind", value=7), "inner.kind", "must be str, not 7"),
        (changed("inner", "pair", value=[1]), "inner.pair", "must be list of length 2, not [1]"),
        (changed("inner", "pair", 0, value="x"), "inner.pair.0", "must be float or None, not 'x'"),
        (changed("inner", "pair", 1, value=True), "inner.pair.1", "must be float or None, not True"),
        (changed("inner", "spots", 1, "x", value=1.5), "inner.spots.1.x", "must be int, not 1.5"),
        (changed("inner", "spots", value="s" * 99), "inner.spots", f"must be list, not '{'s' * 59}…"),
        (changed("named", "q", "n", value="x"), "named.q.n", "must be int, not 'x'"),
        (changed("named", "r", value=3), "named.r", "must be dict, not 3"),
        (changed("maybe", value={"kind": "z", "pair": [1, 2]}), "maybe.kind", "'z' is not one of a, b"),
    ],
)
def test_the_first_place_that_does_not_fit_is_named(value: object, place: str, problem: str) -> None:
    with pytest.raises(MisfitError) as caught:
        validated(value, Outer)
    assert (caught.value.place, caught.value.problem) == (place, problem)
    assert str(caught.value) == f"{place} {problem}".strip()


@pytest.mark.parametrize("data", [b"{", b'{"a": NaN}', b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b""])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(data)


@dataclass(frozen=True, kw_only=True)
class Plate:
    """Settings of a made-up oven."""

    name: str
    heat: float = 1.0
    mode: Literal["slow", "fast"] = "slow"
    steps: tuple[int, ...] = ()
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        if self.heat < 0:
            raise ValueError("heat must not be negative")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("heat = 1", "name is missing"),
        ('name = "p"\nheatt = 1', "unknown key 'heatt'. Did you mean 'heat'?"),
        ('name = "p"\nheat = "hot"', "heat must be float, not 'hot'"),
        ('name = "p"\nheat = true', "heat must be float, not True"),
        ('name = "p"\nheat = nan', "heat must be float, not nan"),
        ('name = "p"\nheat = -1', "heat must not be negative"),
        ('name = "p"\nmode = "medium"', "mode 'medium' is not one of slow, fast"),
        ('name = "p"\nsteps = "1,2"', "steps must be list, not '1,2'"),
        ('name = "p"\nsteps = [1, "2"]', "steps.1 must be int, not '2'"),
        ('name = "p"\n[parts]\nlid = 3', "parts.lid must be dict, not 3"),
        ('name = "p"\n[parts.lid]\nsize = 3', "parts.lid.size must be str, not 3"),
        ('name = "p"\nfixed = 1', "unknown key 'fixed'"),
        ("name = ", "not readable as TOML"),
        (f"name = {'9' * 5000}", "not readable as TOML"),
    ],
)
def test_settings_files_name_file_key_and_what_it_must_be(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plate.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        toml.read(Plate, path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_settings_files_are_read_and_the_same_types_hold_in_code(tmp_path: Path) -> None:
    path = tmp_path / "plate.toml"
    path.write_text('name = "p"\nheat = 2\nsteps = [1, 2]\n[parts.lid]\nsize = "3"\n')
    assert toml.read(Plate, path) == Plate(name="p", heat=2.0, steps=(1, 2), parts={"lid": {"size": "3"}})
    path.write_bytes(b'\xef\xbb\xbfname = "p"\r\nheat = 2\r\n')
    assert toml.read(Plate, path) == Plate(name="p", heat=2.0), "as an editor of Windows writes it"
    path.write_text("heat = 2\n")
    assert toml.read(Plate, path, {"name": "given"}).name == "given"
    path.write_text('name = "p"\n')
    with pytest.raises(UsageError, match="unknown key 'name'"):
        toml.read(Plate, path, {"name": "given"})
    wrong: Any = "2"
    with pytest.raises(MisfitError, match="heat must be float, not '2'"):
        Plate(name="p", heat=wrong)
