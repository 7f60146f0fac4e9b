"""The protocols that come with attrobust: boards, and papers' protocols with the source of every choice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attrobust import methods
from attrobust.benchmark.command.asked import asked
from attrobust.benchmark.command.options import benchmark_parser
from attrobust.benchmark.request.parts import load_parts
from attrobust.benchmark.request.protocol import FOLDER, PAPERS, load_protocol
from attrobust.naming.toml import shipped_names

from helpers.requests import request_of
from helpers.runs import ROOT, run

NAMES = [*shipped_names(FOLDER), *shipped_names(PAPERS)]
SOURCE = re.compile(r"code: |replication: |summary: |title and README|ours")
"""How a comment says where a choice is from."""
CHEAP = ["natural", "softplus", "weight-decay", "advgrad", "input-gradient", "jacobian", "lcnn", "aga", "r2et", "cure"]
CHEAP += ["mart", "trades", "pgd-at", "feature-smoothing", "hessian"]
"""Methods that cost less than 13 times natural."""


@pytest.mark.parametrize("name", NAMES)
def test_every_spec_of_every_part_is_known(name: str, tmp_path: Path) -> None:
    found = asked(benchmark_parser().parse_args(["--protocol", name]))
    for one, protocol in found:
        request = request_of(protocol, tmp_path / one.folder)
        assert request.explainers
        assert request.attacks
        assert request.metrics
    folders = [one.folder for one, _ in found]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("name", shipped_names(PAPERS))
def test_every_choice_of_a_papers_protocol_has_its_source(name: str) -> None:
    lines = (PAPERS / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    stated = [line for line in lines if re.match(r"\w+ = ", line) and not re.match(r"(version|summary) = ", line)]
    assert len(stated) >= len({line.split(" = ")[0] for line in stated}) >= 15, "all settings, also defaults"
    for line in stated:
        value, hash_, comment = line.partition("  # ")
        assert hash_, f"{value} has no source"
        assert SOURCE.search(comment), f"{comment!r} does not say whether the paper's code has it or it is ours"
    author, year = re.fullmatch(r"([a-z]+)(\d+)", name).groups()  # type: ignore[union-attr]
    assert lines[0].lower().startswith(f"# {author}")
    assert year in lines[0]


def test_boards_have_every_method_and_seeds_of_the_cheap_ones() -> None:
    for name in ("fashion-v1", "digits-v1"):
        assert set(load_protocol(name).methods) == set(methods.registry.names())
    parts = {part.name: part.protocol for part in load_parts("fashion-v1")}
    for name in ("published", "auto"):
        assert list(parts[f"{name}-seeds"].methods) == CHEAP
        assert (parts[name].seeds, parts[f"{name}-seeds"].seeds) == ((0,), (1, 2))
    tables = {one.part: one.table for one, _ in asked(benchmark_parser().parse_args(["--protocol", "fashion-v1"]))}
    assert tables["auto-seeds"] == "auto and auto-seeds, eps 8/255, 50 images"


@pytest.mark.parametrize(("part", "name"), [("quick", "quick"), ("strong", "strong")])
def test_digits_v1_has_the_columns_of_quick_and_strong(part: str, name: str) -> None:
    board = {item.name: item.protocol for item in load_parts("digits-v1")}[part]
    other = load_protocol(name)
    for key in (
        "dataset",
        "model",
        "images",
        "explainers",
        "attacks",
        "metrics",
        "accuracy_attack",
        "eps",
        "baselines",
    ):
        assert getattr(board, key) == getattr(other, key), key


def test_papers_are_listed_apart_and_described_in_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = run(["--list", "protocols"], capsys)
    boards, papers = shown.split("\n\n")
    assert code == 0
    assert papers.startswith("protocols of papers:\n")
    page = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    for name in shipped_names(FOLDER):
        assert f"  {name} " in boards
        assert f"| `{name}` |" in page
    for name in shipped_names(PAPERS):
        assert f"  {name} " in papers
        assert f"| `{name}` |" in page
