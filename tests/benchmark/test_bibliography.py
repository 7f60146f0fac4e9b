"""The papers beside a table are those of its components, and nothing in them is made up."""

from __future__ import annotations

import re

import pytest

from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.report.bibliography.render import AXES, Component, cited, references, render
from attrobust.benchmark.report.sweeps import boards_of, together
from attrobust.types import Card

from helpers.runs import ROOT

BRACES = re.compile(r"[{}]")


def field(key: str, name: str) -> str:
    """A field of an entry, without braces."""
    found = re.search(rf"\b{name} = \{{(.*?)\}}(?:,|\}}\n)", references()[key], re.DOTALL)
    return BRACES.sub("", found[1]) if found else ""


def test_every_component_is_there_and_every_paper_is_somebodys() -> None:
    registered = {Component(axis, name) for axis in AXES for name in REGISTRIES[axis].names()}
    shipped = {component for component in registered if "plugin" not in component.name}
    assert set(cited()) == shipped
    assert {key for keys in cited().values() for key in keys} == set(references())


@pytest.mark.parametrize("name", REGISTRIES["methods"].names())
def test_the_paper_of_a_method_is_that_of_its_card(name: str) -> None:
    card = REGISTRIES["methods"].get(name).card
    assert isinstance(card, Card)
    keys = cited()[Component("methods", name)]
    if not card.authors:
        assert not keys, "a method without authors is nobody's paper"
        return
    (key,) = keys
    assert (field(key, "title"), field(key, "year")) == (card.title, str(card.year))
    assert field(key, "author") == card.authors.replace(" et al.", " and others")
    assert field(key, "howpublished") == (f"arXiv preprint {card.arxiv}" if card.arxiv else "")


@pytest.mark.parametrize("axis", ["explainers", "attacks", "metrics"])
def test_the_papers_of_others_are_those_that_their_docstrings_name(axis: str) -> None:
    for name in REGISTRIES[axis].names():
        cls = REGISTRIES[axis].get(name)
        module = __import__(cls.__module__, fromlist=["_"])
        said = " ".join(f"{module.__doc__} {' '.join(str(base.__doc__) for base in cls.__mro__[:-1])}".split())
        for key in cited()[Component(axis, name)]:
            number = field(key, "howpublished").removeprefix("arXiv preprint ").removeprefix("doi:")
            first = field(key, "author").split(" and ")[0]
            assert (number and number in said) or (first in said and field(key, "year") in said), (name, key)


def test_a_table_has_the_papers_of_what_it_shows() -> None:
    boards = boards_of(together([ROOT / "results" / "digits-v1" / "strong"]), "percentile")
    text = render(*boards)
    assert "% method aga: joo2023aga" in text
    assert text.count("@misc{joo2023aga,") == 1
    assert "% attack apgd: croce2020autoattack" in text
    without = re.search(r"No paper is known here of: (.*)", text)
    assert without is not None
    assert {"method natural", "attack noise", "attack auto", "metric cosine"} <= set(without[1].split(", "))
    assert "zeiler2014visualizing" not in text
