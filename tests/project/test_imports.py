"""Imports run one way: benchmark -> the four rooms -> attrobust; rooms never import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attrobust.benchmark.store.provenance import TRAINING
from attrobust.places import sources

ROOT = Path(__file__).parents[2]
ROOMS = ("methods", "explainers", "attacks", "metrics")
ALLOWED = {"attrobust": set(), **{room: {"attrobust"} for room in ROOMS}, "benchmark": {"attrobust", *ROOMS}}
FLOORS = [
    {"store"},
    {"data", "models", "statistics"},
    {"training"},
    {"checkpoints"},
    {"request"},
    {"evaluation", "contract"},
    {"report"},
    {"figures"},
    {"audit"},
    {"executors"},
    {"run", "boards"},
    {"gallery"},
    {"command", "notebook"},
]
"""Rooms of the harness from the ground up; a room imports from lower floors, data also from models beside it."""
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
BESIDE = {("data", "models")}


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


def room_of(module: str) -> str:
    """The room an imported module lies in, ``attrobust`` for the core, empty for what is not ours."""
    first, _, rest = module.partition(".")
    if first != "attrobust":
        return ""
    second = rest.partition(".")[0]
    return second if second in {*ROOMS, "benchmark"} else first


def upward(package: str, source: str) -> list[str]:
    """Rooms that ``package`` must not import from."""
    found = {room_of(name) for name in imports(ast.parse(source))} - {""}
    if "attrobust" in found and package == "attrobust":
        found.discard("attrobust")
    return sorted(found - ALLOWED[package] - {package})


@pytest.mark.parametrize("package", ALLOWED)
def test_no_package_imports_upwards_or_sideways(package: str) -> None:
    files = {name: file.read_text() for name, file in sources(package)}
    # Two faces of the harness, which import no more than what they hand on: the command, and ``check``.
    for face in ("attrobust/__main__.py", "attrobust/testing.py"):
        files.pop(face, None)
    assert files
    assert {name: upward(package, text) for name, text in files.items() if upward(package, text)} == {}


def test_the_rule_sees_every_way_of_importing() -> None:
    assert upward("methods", "def f():\n    import attrobust.benchmark.command.main") == ["benchmark"]
    assert upward("attacks", "from attrobust.explainers import base") == ["explainers"]
    assert upward("attacks", "from attrobust import explainers") == ["explainers"]
    assert upward("attrobust", "import os, attrobust.metrics as m") == ["metrics"]
    assert upward("benchmark", "from attrobust.methods.base import Method\nimport torch") == []


def test_inside_the_harness_imports_run_one_way() -> None:
    wrong = []
    for name, file in sources("benchmark"):
        room = name.split("/")[1]
        for module in imports(ast.parse(file.read_text())):
            pieces = module.split(".")
            if pieces[:2] != ["attrobust", "benchmark"] or len(pieces) == 2 or pieces[2] == room:
                continue
            if FLOOR[pieces[2]] >= FLOOR[room] and (room, pieces[2]) not in BESIDE:
                wrong.append(f"{name} imports {module}")
    assert wrong == []


@pytest.mark.parametrize(
    "words",
    [["--list"], ["--help"], ["--methods", "agaa"], ["report", "--help"], ["figures", "--help"], ["gallery", "--help"]],
)
def test_quick_answers_import_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom attrobust.benchmark.command.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'captum', 'numpy'} & set(sys.modules), 'imported something heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_start_imports_no_library_that_it_does_not_compute_with(tmp_path: Path) -> None:
    """Together these take as long to import as torch."""
    code = (
        "import sys\nfrom attrobust.benchmark.command.main import main\n"
        "main(['--methods', 'aga', '--dry-run', '--out', sys.argv[1]])\n"
        "import attrobust.benchmark.contract.check\n"  # what a run with a plug-in imports too
        "heavy = {'scipy.stats', 'scipy.signal', 'sklearn', 'pandas', 'matplotlib', 'torchvision', 'captum'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [*ROOMS, "benchmark"])
def test_a_room_imported_by_its_bare_name_says_which_name_to_use(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"ImportError: import attrobust.{name}, not {name}")


def test_the_digest_of_training_covers_what_training_imports() -> None:
    covered = {name for place in TRAINING for name, _ in sources(place)}
    ours = {name for room in ("attrobust", *ROOMS, "benchmark") for name, _ in sources(room)}
    # What the command is called through, and what ends it.
    harmless = {"benchmark/__init__.py", "benchmark/training/__init__.py"}
    harmless |= {"benchmark/command/main.py", "benchmark/command/ending.py"}
    harmless |= {"benchmark/contract/__init__.py", "benchmark/contract/check.py"}
    missing = set()
    for place in TRAINING:
        for _, file in sources(place):
            for module in imports(ast.parse(file.read_text())):
                inside = module.removeprefix("attrobust.") if room_of(module) != "attrobust" else module
                path = inside.replace(".", "/")
                missing |= {f"{path}.py", f"{path}/__init__.py"} & (ours - covered)
    assert missing - harmless == set()
