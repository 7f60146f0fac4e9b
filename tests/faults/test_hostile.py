"""Files of a run that say anything at all, with the right digests: ``verify`` tells what is wrong, and goes on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attrobust.benchmark.checkpoints.card import _digest_line, _to_toml
from attrobust.benchmark.command.main import main
from attrobust.benchmark.store.lines import document_of
from attrobust.benchmark.store.plan import Plan
from attrobust.naming.spec import fingerprint

from helpers.edits import edited, places
from helpers.faults import Capture, check_told, kinds
from helpers.runs import run

Times = Callable[[int, int], int]
ODD: list[object] = [
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    "",
    "x" * 1000,
    "\x1b[31m\n",
    [],
    {},
    [[]],
    {"a": {}},
]


PATIENCE = 300
"""Seconds after which ``verify`` hangs, also on a machine that has much else to do."""


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What hangs is interrupted."""

    def interrupt(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def signed(value: Any) -> Any:
    """A row or a plan with the digest that it should have, if it can have one."""
    if not isinstance(value, dict):
        return value
    said = {key: item for key, item in value.items() if key not in ("digest", "interval")}
    try:
        # What was added to plans is not signed where it is null.
        return {**value, "digest": fingerprint({k: v for k, v in said.items() if v is not None or k not in Plan.ADDED})}
    except (ValueError, TypeError):
        return value


def put_row(folder: Path, value: Any) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes() + json.dumps(signed(value), sort_keys=True).encode() + b"\n")


def put_plan(folder: Path, value: Any) -> None:
    (folder / "run.json").write_bytes(document_of(signed(value)))


def put_card(folder: Path, value: Any) -> None:
    text = _to_toml(value).encode() if isinstance(value, dict) else b"x"
    next((folder / "checkpoints").glob("*.toml")).write_bytes(_digest_line(text) + text)


def test_whatever_rows_plans_and_cards_say_verify_answers(everything: Path, times: Times, tmp_path: Path) -> None:
    (card,) = (everything / "checkpoints").glob("*.toml")
    rows = [json.loads(line) for line in (everything / "rows.jsonl").read_text().splitlines()]
    values = [(put_row, row) for row in rows]
    values += [(put_plan, json.loads((everything / "run.json").read_text()))] * 3
    values += [(put_card, {k: v for k, v in tomllib.loads(card.read_text()).items() if k != "digest"})] * 2
    folder = tmp_path / "run"
    shutil.copytree(everything, folder)
    names = ("rows.jsonl", "run.json", f"checkpoints/{card.name}")

    @settings(max_examples=times(40, 2000), suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        put, value = data.draw(st.sampled_from(values))
        for _ in range(data.draw(st.integers(1, 2))):
            if found := list(places(value)):
                value = edited(value, data.draw(st.sampled_from(found)), data.draw(st.sampled_from(ODD)))
        for name in names:
            shutil.copyfile(everything / name, folder / name)
        put(folder, value)
        check_answers(folder)

    check()


def check_answers(folder: Path) -> None:
    signal.alarm(PATIENCE)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["verify", str(folder)])
    check_told(code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("put", ["fifo", "folder", "link to nowhere", "empty"])
def test_another_thing_in_the_place_of_a_file_is_said(
    put: str, everything: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(everything, folder)
    for kind, (path, *_) in kinds(folder).items():
        path.rename(tmp_path / "before")
        if put == "fifo":
            os.mkfifo(path)
        elif put == "folder":
            path.mkdir()
        elif put == "empty":
            path.touch()
        else:
            path.symlink_to("/nowhere/at/all")
        code, out, err = run(["verify", folder], capsys)
        check_told(code, out, err)
        assert code or kind.startswith(("leaderboard", "thumbnails", "contests", "audits", "attacked")), kind
        path.rmdir() if put == "folder" else path.unlink()
        (tmp_path / "before").rename(path)
    assert run(["verify", folder], capsys)[0] == 0


def header_of(shape: tuple[int, ...]) -> bytes:
    """An array file that declares numbers that it does not hold."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zipped(**contents: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def saved(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


GOOD: dict[str, Any] = {"scores": np.full(2, 0.5), "feasible": np.ones(2, dtype=bool)}
HOSTILE = {
    "no archive": b"scores",
    "nothing in it": zipped(),
    "a key is missing": saved(feasible=GOOD["feasible"]),
    "objects": saved(**{**GOOD, "scores": np.array([{}, None], dtype=object)}),
    "texts": saved(**{**GOOD, "scores": np.array(["a", "b"])}),
    "a table": saved(**{**GOOD, "scores": np.zeros((2, 2))}),
    "other lengths": saved(**{**GOOD, "feasible": np.ones(3, dtype=bool)}),
    "an index of nobody": saved(**GOOD, worst=np.array([0, 7]), members=np.array(["a"])),
    "members without index": saved(**GOOD, worst=np.array([0.5, 1.5]), members=np.array(["a"])),
    "eight terabytes": zipped(scores=header_of((10**12,)), feasible=header_of((2,))),
    "a bomb": zipped(scores=header_of((10**7,)) + bytes(8 * 10**7), feasible=header_of((2,))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_scores_with_the_right_hash_and_other_content_are_said(
    name: str, undisturbed: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    lines = (folder / "rows.jsonl").read_text().splitlines()
    row = next(json.loads(line) for line in lines if json.loads(line)["metric"]["name"] == "cosine")
    (folder / "scores" / f"{row['fingerprint']}.npz").write_bytes(HOSTILE[name])
    put_row(folder, row | {"scores_sha256": hashlib.sha256(HOSTILE[name]).hexdigest()})
    code, out, err = run(["verify", folder], capsys)
    assert (code, err) == (1, "")
    assert f"row {row['fingerprint'][:12]}" in out
    assert "holds no scores of images" in out


def test_decimals_that_no_table_has_are_no_plan(undisturbed: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    plan = json.loads((folder / "run.json").read_text())
    plan["metrics"][0]["decimals"] = 10**15
    put_plan(folder, plan)
    code, out, _ = run(["verify", folder], capsys)
    assert (code, "metrics.0.decimals must be int <= 30" in out) == (1, True)
    assert run(["report", folder], capsys)[0] == 2
