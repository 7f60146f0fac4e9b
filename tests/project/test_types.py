"""What plug-ins and notebooks import from attrobust has its real type for mypy and pyright."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import pytest

import attrobust

from helpers.runs import ROOT

TYPED = Path(__file__).parent / "typed"
"""For each axis a right plug-in, and a wrong one whose mistakes are marked ``# error`` or ``# error: TOOL``.

A class that a decorator refuses is reported at the decorator by pyright and at the class by mypy.
"""
AXES = ("method", "explainer", "attack", "metric", "dataset", "model")
Place = tuple[str, int]


def done(words: list[str], folder: Path) -> str:
    """What a command prints that may find errors but must not fail itself."""
    env = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    run = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return run.stdout


def found_by_mypy(_: Path) -> dict[Place, str]:
    """Messages of mypy --strict by file and line."""
    printed = done(["mypy", *map(str, sorted(TYPED.glob("*.py")))], ROOT)
    found = (re.match(r"(.*?):(\d+): error: (.*)", line) for line in printed.splitlines())
    return {(Path(match[1]).name, int(match[2])): match[3] for match in found if match}


def found_by_pyright(folder: Path) -> dict[Place, str]:
    """Messages of pyright in its strict mode by file and line; the plug-ins lie outside of the clone."""
    for file in TYPED.glob("*.py"):
        shutil.copy(file, folder)
    configure(folder)
    printed = json.loads(done(["pyright", "--outputjson", "--pythonpath", sys.executable], folder))
    assert printed["summary"]["filesAnalyzed"] == 2 * len(AXES)
    found = (message for message in printed["generalDiagnostics"] if message["severity"] != "information")
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"] for each in found}


def configure(folder: Path) -> None:
    """A pyright project that finds attrobust in the clone."""
    settings = {"include": ["."], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))


def mistakes(tool: str) -> Iterator[Place]:
    for file in TYPED.glob("*.py"):
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            marked = re.search(r"  # error(?:: (\w+))?$", line)
            if marked and marked[1] in (None, tool):
                yield file.name, number


@pytest.mark.parametrize("tool", ["mypy", "pyright"])
def test_right_plugins_are_clean_and_every_mistake_of_wrong_ones_is_reported(tool: str, tmp_path: Path) -> None:
    assert {file.stem for file in TYPED.glob("*.py")} == {
        f"{how}_{axis}" for how in ("right", "wrong") for axis in AXES
    }
    found = found_by_mypy(tmp_path) if tool == "mypy" else found_by_pyright(tmp_path)
    wanted = set(mistakes(tool))
    assert {name for name, _ in wanted} == {f"wrong_{axis}.py" for axis in AXES}
    assert {place: message for place, message in found.items() if place not in wanted} == {}
    assert sorted(wanted - set(found)) == []


class Editor:
    """A client of pyright's language server."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "pyright.langserver", "--stdio"]
        self.server = subprocess.Popen(words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.folder = folder
        folders = [{"uri": folder.as_uri(), "name": "mine"}]
        self.ask("initialize", {"processId": None, "workspaceFolders": folders, "capabilities": {}})
        self._send({"method": "initialized", "params": {}})

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """The answer to a request."""
        self._send({"id": method, "method": method, "params": params})
        while True:
            message = self._receive()
            if message.get("id") == method and "method" not in message:
                return message["result"]
            if "id" in message:  # A request of the server: it has its defaults.
                items = message.get("params", {}).get("items", [])
                self._send({"id": message["id"], "result": [None] * len(items)})

    def definition(self, file: Path, line: int, column: int) -> Path:
        """The file that holds the definition of what stands somewhere, both counted from 0."""
        document = {"uri": file.as_uri(), "languageId": "python", "version": 1, "text": file.read_text()}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        where = {"textDocument": {"uri": file.as_uri()}, "position": {"line": line, "character": column}}
        (found,) = self.ask("textDocument/definition", where)
        return Path(found["uri"].removeprefix("file://"))

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.server.stdin is not None
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.server.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        length = 0
        while line := self.server.stdout.readline().strip():
            length = int(line.split(b":")[1]) if line.startswith(b"Content-Length") else length
        message: dict[str, Any] = json.loads(self.server.stdout.read(length))
        return message


def test_an_editor_goes_from_a_name_of_the_facade_to_the_file_in_the_clone(tmp_path: Path) -> None:
    configure(tmp_path)
    names = {
        "Method": "methods/base.py",
        "Explainer": "explainers/base.py",
        "Context": "attacks/base.py",
        "Quality": "metrics/base.py",
        "Loaded": "benchmark/data/base.py",
        "ThreatModel": "attrobust/threat.py",
    }
    file = tmp_path / "mine.py"
    file.write_text("".join(f"from attrobust import {name}\n" for name in names))
    editor = Editor(tmp_path)
    try:
        found = [editor.definition(file, line, len("from attrobust import ")) for line in range(len(names))]
    finally:
        editor.server.kill()
        editor.server.communicate()
    assert [path.resolve() for path in found] == [ROOT / place for place in names.values()]


def test_the_facade_has_the_names_of_its_stub_and_lists_them() -> None:
    stub = ast.parse((ROOT / "attrobust" / "__init__.pyi").read_text())
    imported = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    (stated,) = (ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(stated) == sorted(name for name in imported if name is not None) == sorted(attrobust.__all__)
    assert set(stated) <= set(dir(attrobust))
    for name in stated:
        assert getattr(attrobust, name) is not None
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = attrobust.nothing  # type: ignore[attr-defined]


def names_in_signatures(item: type | FunctionType) -> Iterator[str]:
    """Names in the annotations of a function, or of a class's public members that authors may override or receive."""
    members = [member.fget if isinstance(member, property) else member for member in [item, *vars(item).values()]]
    functions = [member for member in members if inspect.isfunction(member) and not member.__name__.startswith("_")]
    # A TypedDict has references in the place of texts.
    texts = [getattr(text, "__forward_arg__", text) for text in inspect.get_annotations(item).values()]
    texts += [text for each in functions if not hasattr(each, "__final__") for text in each.__annotations__.values()]
    for text in texts:
        yield from (node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name))


def names_of_others(module: str) -> set[str]:
    """What a module imports from outside attrobust, and its type variables."""
    source = importlib.import_module(module)
    nodes = [*ast.walk(ast.parse(inspect.getsource(source)))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not str(node.module).startswith("attrobust"):
            names |= {alias.name for alias in node.names}
    return names | {name for name, value in vars(source).items() if isinstance(value, TypeVar)}


@pytest.mark.parametrize("name", attrobust.__all__)
def test_every_type_in_a_signature_that_authors_write_or_receive_is_in_the_facade(name: str) -> None:
    item = getattr(attrobust, name)
    if inspect.isclass(item) or inspect.isfunction(item):
        known = {*vars(builtins), *names_of_others(item.__module__), *attrobust.__all__}
        assert set(names_in_signatures(item)) - known == set()
