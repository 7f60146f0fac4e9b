"""Names of files that mean the same on every system, and paths that are not what was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attrobust.benchmark.boards.board import BoardFacts
from attrobust.benchmark.boards.submit import packing
from attrobust.benchmark.checkpoints.external import parse_external
from attrobust.benchmark.models import registry as models
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.request.axes import combinations
from attrobust.benchmark.request.parts import load_parts
from attrobust.benchmark.request.protocol import FOLDER
from attrobust.naming.component import resolve_one
from attrobust.naming.file_names import as_part, free_name, not_a_file, not_a_path, real, unsuitable
from attrobust.naming.spec import parse_specs
from attrobust.types import UsageError

from helpers.runs import run

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("..", "begins with a dot"),
        (".toml", "begins with a dot"),
        ("mine.", "ends with a dot"),
        (" mine", "begins or ends with a space"),
        ("a:b", "has the character ':'"),
        ("a\\b", r"has the character '\\'"),
        ("a\0b", r"has the character '\x00'"),
        ("CON", "a device on Windows"),
        ("nul.v2", "a device on Windows"),
        ("com1", "a device on Windows"),
        ("COM¹", "a device on Windows"),
        ("é" * 101, "longer than 200 bytes"),
        ("", "is empty"),
    ],
)
def test_a_name_that_some_system_does_not_take_is_told_why(name: str, problem: str) -> None:
    assert problem in unsuitable(name)


@pytest.mark.parametrize("name", ["quick", "mein Protokoll (2)", "v1.2", "конь", "com10", "console", "a-b_c+d"])
def test_other_names_are_taken(name: str) -> None:
    assert unsuitable(name) == ""


def test_texts_become_names_that_no_system_takes_for_the_same() -> None:
    used: set[str] = set()
    names = [free_name(as_part(text), used) for text in ("a/b", "a:b", "A-B", "con", "..", "", "x" * 300)]
    assert names == ["a-b", "a-b-2", "A-B-3", "con_", "unnamed_", "unnamed_-2", "x" * 60]
    assert all(unsuitable(name) == "" for name in names)


def strange(folder: Path) -> dict[str, str]:
    """What is no file, by its path, and what is said of it."""
    (folder / "file").write_text("")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "broken").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe")
    return {
        str(folder): "is a folder, and no file",
        str(folder / "missing"): "does not exist",
        str(folder / "file" / "below"): "does not exist: what should be a folder of it is a file",
        str(folder / "loop"): "cannot be read: Too many levels of symbolic links",
        str(folder / "broken"): f"is a link to {folder / 'nothing'}, which does not exist",
        str(folder / "pipe"): "is a pipe, and no file",
        "/dev/zero": "is a device, and no file",
    }


def test_what_is_no_file_is_called_by_its_kind(tmp_path: Path) -> None:
    for path, said in strange(tmp_path).items():
        assert not_a_file(Path(path)) == said
    assert not_a_file(tmp_path / "file") == ""
    assert real(tmp_path / "loop").name == "loop"


@pytest.mark.parametrize("words", [["--plugin"], ["check"], ["--checkpoint", "a="]], ids=" ".join)
def test_whoever_names_something_else_than_a_file_is_told_what_it_is(
    words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    for path, said in strange(tmp_path).items():
        line = [*words[:-1], words[-1] + path] if words[-1].endswith("=") else [*words, path]
        code, _, err = run(line, capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err or "is a folder; name the weight file in it" in err


def test_links_that_lead_back_to_themselves_end_every_command_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for words in (["report"], ["report", "--out", tmp_path / "out"], ["verify"], ["gallery"], ["figures"], ["submit"]):
        code, _, err = run([words[0], loop, *words[1:]], capsys)
        assert (code, err) == (2, f"error: {loop} holds no run: there is no run.json in it\n")


@pytest.mark.parametrize("stem", ["...", ".", "nul", "x:y"])
def test_a_protocol_whose_name_is_no_folder_is_refused(stem: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"{stem}.toml"
    path.write_text((FOLDER / "quick.toml").read_text())
    code, _, err = run(["--protocol", path, "--methods", "natural"], capsys)
    assert code == 2
    assert err.startswith(f"error: protocol file {path}: its name, of which the run's folder is called, ")
    assert err.endswith("; rename it\n")


def test_a_part_is_no_device_either(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((FOLDER / "quick.toml").read_text() + "\n[parts.aux]\nimages = 2\n")
    with pytest.raises(UsageError, match=r"parts.aux: a part is a folder, and this name is the name of a device"):
        load_parts(str(path))


def test_folders_of_a_sweep_differ_in_more_than_capitals() -> None:
    with pytest.raises(UsageError, match="would have the same folder"):
        combinations(dataset="imagefolder:labels=a.csv,imagefolder:labels=A.csv", model=None, eps=None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("https://example.org/w.pt", "is an address; download what is there"),
        ("s3://bucket/runs", "is an address"),
        ("~/runs", r"~/runs: the shell replaces ~ only where a word begins with it; write $HOME/runs"),
        ("~", "write $HOME"),
        ("~ann/w.pt", "write the whole path"),
    ],
)
def test_a_path_that_is_none_is_told_what_was_meant(text: str, problem: str, capsys: Capture) -> None:
    assert problem in not_a_path(text)
    for words in (
        ["--out", text, "--methods", "natural"],
        ["--data-root", text],
        ["--plugin", text],
        ["report", text],
        ["report", f"a={text}"],
        ["verify", text],
        ["--protocol", f"{text}/x.toml"],
        ["--checkpoint", f"mine={text}"],
    ):
        code, _, err = run(words, capsys)
        assert code == 2
        assert len(err.splitlines()) == 1
        assert "is an address" in err or "the shell replaces ~" in err


def test_a_file_called_like_a_home_folder_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    assert not_a_path("~/runs") == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (r"C:\nets\w.pt", r"mine: C:\nets\w.pt does not exist"),
        ("C:/nets/w.pt:lenet", "C:/nets/w.pt does not exist"),
        ("nowhere.pt:lenet", "nowhere.pt does not exist"),
        (".", "mine: . is a folder; name the weight file in it"),
    ],
)
def test_a_weight_file_that_is_none_is_named_whole(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_external(f"mine={text}", resolve_one(models, "lenet", ModelFamily))
    assert problem in str(refused.value)


def test_a_drive_in_a_setting_ends_no_spec() -> None:
    (spec,) = parse_specs(r"imagefolder:size=32,labels=C:\scans\labels.csv", "--dataset")
    assert spec.settings == {"size": "32", "labels": r"C:\scans\labels.csv"}
    assert len(parse_specs("aga:cosd=1,natural", "--methods")) == 2


def test_plug_ins_of_one_name_are_both_handed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / folder / name for folder, name in (("a", "mine.py"), ("b", "mine.py"), ("c", "Mine.py"))]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(f"x = {number}\n")
    monkeypatch.setattr("attrobust.benchmark.boards.submit.stores_of", lambda _: {})
    monkeypatch.setattr("attrobust.benchmark.boards.submit.write", lambda *_: None)
    monkeypatch.setattr("attrobust.benchmark.boards.submit.boards_of", lambda *_: [])
    facts = BoardFacts(version=1, licence="CC0-1.0")
    with packing(tmp_path, tmp_path / "packed", facts, files) as packed:
        found = sorted((packed / "plugins").iterdir())
        assert {path.read_text() for path in found} == {"x = 0\n", "x = 1\n", "x = 2\n"}
        assert len({path.name.casefold() for path in found}) == 3
