"""Plug-ins that use the names from before ``attrobust.…`` are told what to write now."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attrobust.naming.moved import MOVED, moved_for, moved_imports
from attrobust.naming.registry import Registry
from attrobust.types import UsageError

from helpers.runs import ROOT, run

OLD = """from dataclasses import dataclass
from methods.base import Method
from methods import register, adversarial
from attrobust.types import ThreatModel, UsageError
import torch, benchmark.data.base
from attrobust import views
from explainers.chunks import memory_budget
import benchmark.runner
"""
NEW = [
    "methods.base is now attrobust.methods.base",
    "methods is now attrobust.methods",
    "methods.adversarial is now attrobust.methods.losses.adversarial",
    "attrobust.types.ThreatModel is now attrobust.threat.ThreatModel",
    "benchmark.data.base is now attrobust.benchmark.data.base",
    "attrobust.views is now attrobust.networks.smoothed",
    "explainers.chunks is now attrobust.explainers.shared.chunks",
    "benchmark is now attrobust.benchmark, which has no runner",
]


def exists(place: str) -> bool:
    """Whether a module, or a name in one, can be imported."""
    module, _, name = place.rpartition(".")
    try:
        return importlib.import_module(place) is not None
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_what_moved_is_at_its_new_place_and_no_longer_at_the_old(old: str, new: str) -> None:
    assert exists(new)
    if old.startswith("attrobust."):
        assert not exists(old)


def test_a_plugin_file_is_told_of_all_its_old_names_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(OLD)
    # In this process the clone is on the path, as it is for ``python -m attrobust`` in a clone.
    code, out, err = run(["--plugin", plugin, "--methods", "natural"], capsys)
    own = "if a methods of your own is meant, give its folder an __init__.py, or pip install attrobust in place of"
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --plugin {plugin} line 2: {'; '.join(NEW)}; {own}")
    assert err.count("\n") == 1


def test_where_the_clone_is_not_on_the_path_a_plugin_file_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OLD)
    line = [sys.executable, str(ROOT / "run_benchmark.py"), "--plugin", "mine.py", "--methods", "natural"]
    env = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --plugin mine.py line 2: {'; '.join(NEW)}\n"


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("from metrics.topk import TopK", "metrics.topk is now attrobust.metrics.similarity.topk"),
        ("from metrics import study", "metrics.study is now attrobust.metrics.shared.retraining"),
        ("from benchmark.zoo import load", "benchmark.zoo is now attrobust.benchmark.checkpoints.find"),
        ("import attacks.board", "attacks.board is now attrobust.attacks.engine.board"),
        ("import attrobust.ranks", "attrobust.ranks is now attrobust.maps.ranks"),
        ("from attrobust.types import format_eps", "attrobust.types.format_eps is now attrobust.threat.format_eps"),
        ("import nothing_of_this_name", ""),
        ("from attrobust.types import nothing", ""),
        ("from torch import nothing", ""),
    ],
)
def test_each_import_is_answered_with_its_new_name(line: str, new: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"import os\n{line}\n")
    with pytest.raises(ImportError) as raised:
        exec(compile(file.read_text(), str(file), "exec"), {})
    assert moved_for(raised.value).partition("; if a ")[0] == new


def test_an_import_error_of_something_else_is_not_answered_with_old_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import nothing_of_this_name\nfrom methods.base import Method\n")
    with pytest.raises(ImportError) as raised:
        exec(compile(file.read_text(), str(file), "exec"), {})
    assert moved_for(raised.value) == ""


def test_a_room_of_the_authors_own_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "__init__.py").touch()
    (tmp_path / "metrics" / "mine.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert moved_imports(ast.parse("import metrics.mine\nfrom metrics import mine\nimport metrics.mistyped")) == []
    assert moved_imports(ast.parse("from metrics.base import Quality")) == [
        "metrics.base is now attrobust.metrics.base"
    ]


def test_an_installed_plugin_is_told_in_the_list_and_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kiwi_of_old.py").write_text(
        'from methods.base import Method\n\n\nclass Kiwi(Method):\n    """Green."""\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    point = importlib.metadata.EntryPoint("kiwi", "kiwi_of_old:Kiwi", "attrobust.methods")
    monkeypatch.setattr("attrobust.naming.registry.entry_points", lambda **_: [point])
    registry = Registry[object]("method", "attrobust.methods")
    (entry,) = (entry for entry in registry.entries() if entry.name == "kiwi")
    new = "methods.base is now attrobust.methods.base"
    assert entry.summary == f"plug-in kiwi_of_old:Kiwi of kiwi_of_old:Kiwi, does not load: {new}"
    assert "kiwi_of_old" not in sys.modules
    with pytest.raises(UsageError, match=f"^method 'kiwi' of kiwi_of_old:Kiwi does not load: {new}"):
        registry.get("kiwi")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--controls", "none"], "--controls is now called --baselines"),
        (["--attacks", "topk:view=own"], "no setting 'view'. It is now called 'differentiate'"),
        (["--attacks", "topk:sharpness=3"], "It is now called 'inverse_temperature'"),
    ],
)
def test_an_old_option_or_setting_is_answered_with_its_new_name(
    words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([*words, "--dry-run"], capsys)
    assert code == 2
    assert answer in err


@pytest.mark.parametrize(
    ("axis", "contract", "member", "new"),
    [
        ("explainer", "Explainer", "curved = True", "varies_within_region"),
        ("method", "Method", "idle = frozenset()", "without_effect"),
        ("attack", "Attack", "donor = 'natural'", "source_model"),
        (
            "metric",
            "RetrainingMetric",
            "higher_is_better, bounds = True, (0.0, 1.0)\n    def conduct(self, bench): ...",
            "evaluate",
        ),
    ],
)
def test_an_old_attribute_of_a_contract_is_refused_with_its_new_name(
    axis: str, contract: str, member: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "from dataclasses import dataclass\nfrom attrobust import {0}, register_{1}\n"
    source += "@register_{1}('mine')\n@dataclass(frozen=True, kw_only=True)\nclass Mine({0}):\n    {2}\n"
    (tmp_path / "mine.py").write_text(source.format(contract, axis, member))
    code, _, err = run(["--plugin", tmp_path / "mine.py", f"--{axis}s", "mine", "--dry-run"], capsys)
    assert code == 2
    assert f"is now called {new}; rename it in Mine" in err
