"""``name:key=value`` to a dataclass: typed, checked, and stable."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrobust.naming.spec import Spec, build, canonical, fingerprint, parse_specs, parse_sweeps
from attrobust.numbers import LARGEST, parse_number, parse_whole
from attrobust.threat import ThreatModel, format_eps
from attrobust.types import Amount, UsageError


@dataclass(frozen=True, kw_only=True)
class Settings:
    eps: float = 0.5
    steps: int = 3
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    k: Amount = Amount(10, percent=True)
    step: float | None = None

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise ValueError("eps must not be negative")


def made(text: str) -> Settings:
    return build(Settings, Spec.parse(text))


def test_every_kind_of_setting_is_read() -> None:
    assert made("x:eps=8/255,steps=4,flag=true,kind=b,k=100,step=1e-2") == Settings(
        eps=8 / 255, steps=4, flag=True, kind="b", k=Amount(100, percent=False), step=0.01
    )
    assert made("x:step=none").step is None


def test_what_is_typed_wins_over_defaults() -> None:
    assert build(Settings, Spec.parse("x:steps=9"), {"steps": "1", "eps": "0.1"}) == Settings(steps=9, eps=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x:epz=1", r"x has no setting 'epz'. Did you mean 'eps'\? Its settings: eps, steps"),
        ("x:eps=one", "'one' is not a number"),
        ("x:eps=1/0", "'1/0' is not a number"),
        ("x:eps=nan", "not a finite number"),
        ("x:eps=inf", "not a finite number"),
        ("x:eps=-1", "eps must not be negative"),
        ("x:steps=1.5", "not a whole number"),
        ("x:flag=1", "neither true nor false"),
        ("x:kind=c", "not one of a, b"),
        ("x:k=0", "above 0"),
        ("x:k=101%", "at most 100%"),
        ("x:k=1.5", "whole number of pixels"),
        ("x:eps=", "not key=value"),
        ("x:eps=1,eps=2", "set twice"),
        ("x:", "ends in ':'"),
        (":eps=1", "no name"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(text)


def test_lists_keep_settings_with_their_names() -> None:
    specs = parse_specs("aga:cosd=0.1,eps=4/255,hessian,pgd-at:steps=3", "--methods")
    assert [str(spec) for spec in specs] == ["aga:cosd=0.1,eps=4/255", "hessian", "pgd-at:steps=3"]


def test_values_in_braces_stand_for_one_spec_each() -> None:
    specs = parse_specs("natural,aga:cosd={0.1,1},eps=4/255,pgd-at:norm={linf, l2},eps={4/255,8/255}", "--methods")
    assert [str(spec) for spec in specs] == [
        "natural",
        "aga:cosd=0.1,eps=4/255",
        "aga:cosd=1,eps=4/255",
        "pgd-at:norm=linf,eps=4/255",
        "pgd-at:norm=linf,eps=8/255",
        "pgd-at:norm=l2,eps=4/255",
        "pgd-at:norm=l2,eps=8/255",
    ]


def test_a_sweep_remembers_what_was_typed() -> None:
    sweeps = parse_sweeps("natural, aga:cosd={0.1,1},eps=4/255", "--methods")
    assert [(sweep.text, sweep.is_swept, len(sweep.specs)) for sweep in sweeps] == [
        ("natural", False, 1),
        ("aga:cosd={0.1,1},eps=4/255", True, 2),
    ]


@given(
    st.lists(st.sampled_from(["0.1", "1", "8/255", "10%", "linf", "none"]), min_size=1, unique=True), st.integers(1, 3)
)
def test_a_sweep_is_what_would_be_typed_without_it(values: list[str], count: int) -> None:
    keys = "abc"[:count]
    swept = ",".join(f"{key}={{{','.join(values)}}}" for key in keys)
    typed = ",".join(
        "x:" + ",".join(f"{key}={value}" for key, value in zip(keys, picked, strict=True))
        for picked in itertools.product(values, repeat=count)
    )
    assert parse_specs(f"x:{swept}", "--methods") == parse_specs(typed, "--methods")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:k={}", "empty value"),
        ("a:k={1,}", "empty value"),
        ("a:k={1,1}", "lists 1 twice"),
        ("a:k={1,2", "do not pair up"),
        ("a:k=1,2}", "do not pair up"),
        ("a:k={1,{2,3}}", "do not pair up"),
        ("a:eps={4,8}/255", r"braces hold whole values, such as \{4/255,8/255\}"),
        ("{a,b}", "braces outside a value"),
        ("a:{j,k}=1", "braces outside a value"),
        ("a:k={1,2},a:k=2", "names a:k=2 twice"),
    ],
)
def test_braces_that_stand_for_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_specs(text, "--methods")


def test_a_sweep_where_one_spec_is_wanted_is_refused() -> None:
    with pytest.raises(UsageError, match="stands for 2 settings where one is wanted"):
        Spec.parse("digits:size={8,16}")


@pytest.mark.parametrize("text", ["", "a,,b", "a,", "a,a"])
def test_empty_and_repeated_names_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_specs(text, "--methods")


def test_fingerprints_do_not_change_between_runs_or_versions() -> None:
    value = canonical("x", Settings(eps=8 / 255))
    text = '{"name":"x","settings":{"eps":0.03137254901960784,"flag":false,"k":"10%","kind":"a","step":null,"steps":3}}'
    assert fingerprint(value) == hashlib.sha256(text.encode()).hexdigest()
    assert fingerprint(value) != fingerprint(canonical("x", Settings()))


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_fractions_are_exact(a: int, b: int) -> None:
    assert parse_number(f"{a}/{b}") == a / b


@pytest.mark.parametrize(
    "text",
    [
        "1_6/255",
        "8/2_55",
        "\uff18/255",
        "\u0668/255",
        "1e-400",
        "1/1e400",
        "1e-300/1e300",
        "0x8",
        "\u00b2",
        "nan",
        "1/0",
    ],
)
def test_a_number_that_would_be_read_as_another_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (finite )?number|too close to zero"):
        parse_number(text)


def test_zero_is_one_number() -> None:
    for text in ("0", "-0", "0.0", "0e5", "0/7", "-0/7"):
        assert str(parse_number(text)) == "0.0"


@pytest.mark.parametrize(
    "text", ["", "1.0", "1e3", "1_0", "\uff14", "\u00b2", "0x8", "1 0", str(LARGEST + 1), "9" * 5000]
)
def test_what_is_no_whole_number_is_said_in_a_short_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|too large") as caught:
        parse_whole(text)
    assert len(str(caught.value)) < 120


@given(st.integers(-LARGEST, LARGEST))
def test_whole_numbers_are_exact(value: int) -> None:
    assert parse_whole(f" {value} ") == value
    assert build(Settings, Spec("x", {"steps": str(value)})).steps == value


def test_settings_take_no_number_that_a_float_would_change() -> None:
    assert build(Settings, Spec("x", {"steps": "9007199254740993"})).steps == 9007199254740993
    for key, text in (("steps", "1e30"), ("steps", "1_0"), ("k", "9" * 400), ("k", "\uff11\uff10%"), ("k", "9" * 17)):
        with pytest.raises(UsageError, match=rf"x: {key}: "):
            build(Settings, Spec("x", {key: text}))


@given(st.integers(1, 255))
def test_eps_is_printed_as_it_is_typed(levels: int) -> None:
    assert format_eps(levels / 255) == f"{levels}/255"
    assert parse_number(format_eps(levels / 255)) == levels / 255


@given(st.integers(1, 5000), st.floats(0.01, 100))
def test_an_amount_is_between_one_pixel_and_all(total: int, percent: float) -> None:
    assert 1 <= Amount(percent, percent=True).of(total) <= max(1, total)


def test_a_count_above_the_size_of_a_map_is_an_error() -> None:
    with pytest.raises(ValueError, match="k=100 is more than the 64 pixels"):
        Amount.parse("100").of(64)


@pytest.mark.parametrize("eps", [-0.1, 1.1, float("nan"), 8.0])
def test_eps_outside_the_pixel_range_is_refused(eps: float) -> None:
    with pytest.raises(ValueError, match="pixel units"):
        ThreatModel(eps=eps)
