"""Commands on a run that was made with a plug-in, typed without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import attrobust
from attrobust.benchmark.boards.registered import named_plugins
from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.command.main import main
from attrobust.benchmark.request.plugins import module_of

from helpers.runs import FAST, SMALL, run

Capture = pytest.CaptureFixture[str]
PLUGIN = '''"""One class of every axis that a cell has."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from attrobust import Attack, Explainer, Method, Similarity
from attrobust import register_attack, register_explainer, register_method, register_metric


@register_method("own-method")
@dataclass(frozen=True, kw_only=True)
class OwnMethod(Method):
    def loss(self, model, x, y, generator):
        return cross_entropy(model(x), y)


@register_explainer("own-explainer")
@dataclass(frozen=True, kw_only=True)
class OwnExplainer(Explainer):
    def attribute(self, model, x, target, *, create_graph, generator):
        x = x if create_graph else x.detach().requires_grad_()
        logits = model(x).gather(1, target[:, None]).sum()
        return torch.autograd.grad(logits, x, create_graph=create_graph)[0]


@register_attack("own-attack")
@dataclass(frozen=True, kw_only=True)
class OwnAttack(Attack):
    def run(self, context, x, y):
        return x.clone()


@register_metric("own-metric")
@dataclass(frozen=True, kw_only=True)
class OwnMetric(Similarity):
    higher_is_better = True
    bounds = (-1.0, 1.0)

    def compare(self, a, b):
        return cosine_similarity(a, b)
'''
OWN = [f"{kind} 'own-{kind}'" for kind in ("method", "explainer", "attack", "metric")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run made with the plug-in, which is not loaded any more."""
    folder = tmp_path_factory.mktemp("plugin")
    plugin = folder / "own file.py"
    plugin.write_text(PLUGIN)
    words = ["--plugin", str(plugin), "--methods", "natural,own-method", *FAST, *SMALL, "--epochs", "1"]
    words += ["--explainers", "own-explainer", "--attacks", "own-attack", "--metrics", "own-metric"]
    assert main([*words, "--workers", "1", "--out", str(folder / "run")]) == 0
    forget(plugin)
    yield folder / "run"
    forget(plugin)


def forget(plugin: Path) -> None:
    """As in a process that has not loaded it."""
    for registry in REGISTRIES.values():
        registry.forget(module_of(plugin))


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "RUN", "--recompute", "9", "--images", "2"],
        ["gallery", "RUN", "--methods", "own-method", "--images", "0", "--format", "png"],
        ["report", "RUN", "--export", "html", "--pictures"],
    ],
    ids=lambda words: words[0],
)
def test_what_computes_again_names_all_that_is_lacking_and_the_file_that_has_it(
    words: list[str], made: Path, capsys: Capture
) -> None:
    command, plugin = [str(made) if word == "RUN" else word for word in words], made.parent / "own file.py"
    code, _, err = run(command, capsys)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith(f"error: {made} was made with a plug-in that is not loaded: ")
    assert [what for what in OWN if what not in err] == []
    assert f"add --plugin '{plugin}'" in err
    try:
        code, _, err = run([*command, "--plugin", plugin], capsys)
    finally:
        forget(plugin)
    assert code == 0, err


@pytest.mark.parametrize("words", [["report", "RUN", "--export", "csv,latex,html,json"], ["verify", "RUN"]])
def test_what_reads_rows_alone_needs_no_plug_in(words: list[str], made: Path, capsys: Capture) -> None:
    code, out, err = run([str(made) if word == "RUN" else word for word in words], capsys)
    assert code == 0, err
    assert "own-method" in out or "0 problems" in out
    assert set(attrobust.results(made)["method"]) == {"natural", "own-method"}


def test_the_plug_ins_of_a_command_are_found_however_they_were_typed() -> None:
    argv = ("--plugin", "a.py", "--methods", "x", "--plugin=b.py", "--plugin", "a.py")
    assert {*named_plugins(argv)} == {Path("a.py"), Path("b.py")}


def test_a_plug_in_that_moved_is_named_to_submit(made: Path, tmp_path: Path, capsys: Capture) -> None:
    plugin, moved = made.parent / "own file.py", tmp_path / "moved.py"
    plugin.rename(moved)
    try:
        code, _, err = run(["submit", made, "--results", tmp_path, "--as-board", "mine"], capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert f"plug-in {plugin} of the run does not exist; say where it is with --plugin" in err
    finally:
        moved.rename(plugin)
