"""Imports run one way: benchmark -> the four rooms -> attrobust; rooms never import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ["methods", "explainers", "attacks", "metrics"]
ALLOWED = {"attrobust": set(), **{room: {"attrobust"} for room in ROOMS}, "benchmark": {"attrobust", *ROOMS}}
LAYERS = [
    {"schema"},
    {"files", "settings", "options", "components", "models", "provenance", "dialects", "scores"},
    {"data", "store", "protocol", "recipe", "cards", "plugins", "weights"},
    {"describe", "statistics", "training", "trial", "evaluation", "sources", "criterion", "choice", "rows"},
    {"packages", "claims", "listing", "audit"},
    {"external"},
    {"controls"},
    {"zoo", "request", "report"},
    {"subjects", "verify"},
    {"cells", "inputs", "retraining"},
    {"choosing", "fit", "networks", "plan", "audits"},
    {"runner"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imports(tree: ast.Module) -> Iterator[str]:
    """Every imported module, wherever the statement stands, ``from a import b`` also as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def upward(package: str, source: str) -> list[str]:
    """Imports of our own packages that ``package`` must not make."""
    found = {name.partition(".")[0] for name in imports(ast.parse(source))} & {*ALLOWED}
    return sorted(found - ALLOWED[package] - {package})


@pytest.mark.parametrize("package", ALLOWED)
def test_no_package_imports_upwards_or_sideways(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert {str(file): upward(package, file.read_text()) for file in files if upward(package, file.read_text())} == {}


def test_the_rule_sees_every_way_of_importing() -> None:
    assert upward("methods", "def f():\n    import benchmark.cli") == ["benchmark"]
    assert upward("attacks", "from explainers import base") == ["explainers"]
    assert upward("attrobust", "import os, metrics as m") == ["metrics"]
    assert upward("benchmark", "from methods.base import Method\nimport torch") == []


def test_inside_the_harness_imports_run_one_way() -> None:
    wrong = []
    for file in sorted((ROOT / "benchmark").rglob("*.py")):
        parts = file.relative_to(ROOT / "benchmark").with_suffix("").parts
        if parts == ("__init__",):
            continue
        for name in imports(ast.parse(file.read_text())):
            pieces = name.split(".")
            if pieces[0] != "benchmark" or len(pieces) == 1 or pieces[1] == parts[0]:
                continue
            if RANK[pieces[1]] >= RANK[parts[0]]:
                wrong.append(f"{'.'.join(parts)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("words", [["--list"], ["--help"], ["--methods", "agaa"], ["report", "--help"]])
def test_quick_answers_import_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom benchmark.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'captum', 'numpy'} & set(sys.modules), 'imported something heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_room_shadowed_by_another_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "__init__.py").write_text("")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import attrobust; attrobust.Similarity"
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ImportError" in done.stderr
    assert str(tmp_path / "metrics") in done.stderr


def test_everything_the_facade_promises_resolves() -> None:
    import attrobust

    for name in attrobust.__all__:
        assert getattr(attrobust, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = attrobust.nothing


def test_the_digest_of_training_covers_what_training_imports() -> None:
    from benchmark.provenance import TRAINING

    def covered(path: Path) -> bool:
        return any(path == ROOT / place or ROOT / place in path.parents for place in TRAINING)

    harmless = {"benchmark/__init__.py", "benchmark/files.py", "benchmark/settings.py", "explainers/__init__.py"}
    missing = set()
    for place in TRAINING:
        for file in (ROOT / place).rglob("*.py") if (ROOT / place).is_dir() else [ROOT / place]:
            for name in imports(ast.parse(file.read_text())):
                path = ROOT / name.replace(".", "/")
                found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
                if found.is_file() and not covered(found):
                    missing.add(found.relative_to(ROOT).as_posix())
    assert missing - harmless == set()
