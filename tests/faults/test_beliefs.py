"""What somebody else wrote into a run is not believed in silence, and the run's command puts it right."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attrobust.benchmark.statistics import estimate
from attrobust.sealed import sealed

from faults.test_hostile import put_plan, put_row, saved
from helpers.faults import Capture, check_recovers, tables
from helpers.runs import run, written_plan, written_rows


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(undisturbed, tmp_path / "run")
    return tmp_path / "run"


def of_metric(folder: Path, name: str) -> dict[str, Any]:
    """The row of a metric, as it lies on disk."""
    return next(row for row in written_rows(folder).values() if row["metric"]["name"] == name)


def test_a_report_says_that_a_row_was_changed(folder: Path, capsys: Capture) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"guessing": 0.', b'"guessing": 0.9', 1))
    code, _, err = run(["report", folder], capsys)
    assert code == 0
    assert f"warning: {path} line 1 is not as the run wrote it; see verify" in err


@pytest.mark.parametrize(("name", "score"), [("accuracy", 0.9), ("share", 7.5), ("share", -0.1)])
def test_scores_that_no_image_can_have_are_named(name: str, score: float, folder: Path, capsys: Capture) -> None:
    """With the right hash, digest, mean and interval."""
    row = of_metric(folder, "accuracy" if name == "accuracy" else "cosine")
    if name != "accuracy":
        row["metric"] |= {"unit": True}
    scores = np.full(row["n"], score)
    data = saved(scores=scores, feasible=np.ones(len(scores), dtype=bool))
    found = estimate(scores, row["metric"]["unit"])
    (folder / "scores" / f"{row['fingerprint']}.npz").write_bytes(data)
    row |= {"scores_sha256": hashlib.sha256(data).hexdigest(), "mean": found.mean, "ci": [found.low, found.high]}
    put_row(folder, row | {"n_feasible": len(scores), "n_defined": len(scores)})
    code, out, _ = run(["verify", folder], capsys)
    assert code == 1
    assert f"an image has a score of {score}, which {row['metric']['label']} never is" in out


def test_a_part_that_cannot_be_read_is_computed_again(folder: Path, whole: dict[str, bytes], capsys: Capture) -> None:
    """It has the right digest and another form, as another version may give it."""
    lines = (folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
    for content in (b"", b"garbage", saved(metrics=np.array(["a"]))):
        for cell in (folder / "attacked").iterdir():
            part = folder / "pieces" / cell.name / "0-2-0123456789abcdef"
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(sealed(content, "/".join(part.parts[-3:])))
        (folder / "rows.jsonl").write_bytes(lines[0])
        code, out, _ = run(["verify", folder], capsys)
        assert (code, f"{part} is damaged" in out) == (1, True), out
        check_recovers(folder, whole, capsys)


def test_results_of_an_attack_that_cannot_be_read_are_computed_again(
    folder: Path, whole: dict[str, bytes], capsys: Capture
) -> None:
    """They have the right digest; of one the arrays are there too, and say other images, members or fewer bytes."""
    lines = (folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
    paths = sorted((folder / "attacked").glob("*/*"))
    with np.load(io.BytesIO(paths[0].read_bytes()[32:])) as found:
        arrays = dict(found)
    wrong: list[dict[str, Any]] = [
        {"moved": arrays["moved"][:-9]},
        {"shape": arrays["shape"] + 1},
        {"feasible": arrays["feasible"][:-1]},
        {"sources": arrays["sources"] + 7},
        {"passes": arrays["passes"][:2]},
    ]
    contents = [b"garbage", saved(x=np.zeros(1)), *(saved(**(arrays | item)) for item in wrong)]
    for content in contents:
        paths[0].write_bytes(sealed(content, "/".join(paths[0].parts[-3:])))
        code, out, _ = run(["verify", folder], capsys)
        assert (code, f"{paths[0]} is damaged" in out) == (1, True), out
    for path in paths:
        path.write_bytes(sealed(contents[0], "/".join(path.parts[-3:])))
    (folder / "rows.jsonl").write_bytes(lines[0])
    check_recovers(folder, whole, capsys)


def test_facts_of_a_metric_that_another_version_wrote_are_written_again(
    folder: Path, whole: dict[str, bytes], capsys: Capture
) -> None:
    """Or somebody who turned the metric round: rows, plan and tables agree then."""
    plan = written_plan(folder)
    for row in [row for row in written_rows(folder).values() if row["metric"]["name"] == "cosine"]:
        row["metric"] |= {"higher_is_better": False, "title": "Sine", "unit": True}
        put_row(folder, row)
    plan["metrics"][0] |= {"higher_is_better": False, "title": "Sine", "unit": True}
    put_plan(folder, plan)
    assert run(["report", folder], capsys)[0] == 0
    assert tables(folder) != whole
    check_recovers(folder, whole, capsys)
