"""What a run has computed is on disk the moment it ends: after an interruption only the rest is computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attrobust.benchmark.executors.base import Job, Result
from attrobust.benchmark.executors.jobs import AuditJob, NetworkJob
from attrobust.benchmark.executors.worker import Worker

from helpers.runs import run

Capture = pytest.CaptureFixture[str]
AUDITED = [
    "--methods",
    "natural",
    "--explainers",
    "saliency,constant",
    "--baselines",
    "none",
    "--attacks",
    "noise:draws=1",
]
AUDITED += ["--accuracy-attack", "none", "--batch-size", "4"]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is carried out, by kind and label; networks only where they are trained."""
    found: list[str] = []
    carried_out = Worker._carried_out

    def noted(self: Worker, job: Job) -> Result:
        result = carried_out(self, job)
        if not isinstance(job, NetworkJob):
            found.append(f"{type(job).__name__} {job.label} {job.key}")
        return result

    monkeypatch.setattr(Worker, "_carried_out", noted)
    yield found


def interrupted_before(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[Job], bool]) -> None:
    """Ctrl-C, when a job of some kind is begun."""
    carried_out = Worker._carried_out

    def interrupting(self: Worker, job: Job) -> Result:
        if wanted(job):
            raise KeyboardInterrupt
        return carried_out(self, job)

    monkeypatch.setattr(Worker, "_carried_out", interrupting)


def audits(done: list[str]) -> int:
    return sum(line.startswith("AuditJob") for line in done)


def test_an_audit_is_kept_before_any_cell_is_complete(
    tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = [*AUDITED, "--images", "8", "--metrics", "cosine"]
    with monkeypatch.context() as patch:
        interrupted_before(patch, lambda job: not isinstance(job, AuditJob) and "noise" in job.label)
        assert run([*words, "--out", tmp_path / "run"], capsys)[0] == 130
    assert audits(done) == 1
    assert not any("flags" in line for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines())
    done.clear()
    assert run([*words, "--dry-run", "--out", tmp_path / "run"], capsys)[1].count("1 audit,") == 1
    assert run([*words, "--out", tmp_path / "run"], capsys)[0] == 0
    assert audits(done) == 1, "that of the other explainer"
    assert run([*words, "--out", tmp_path / "whole"], capsys)[0] == 0
    tables = [(tmp_path / name / "leaderboard.csv").read_text() for name in ("run", "whole")]
    assert tables[0] == tables[1]
    assert "constant-map" in tables[0]
    assert run(["verify", tmp_path / "run"], capsys)[0] == 0


def test_runs_that_grow_find_audits_of_the_same_images(tmp_path: Path, done: list[str], capsys: Capture) -> None:
    words = [*AUDITED, "--out", tmp_path]
    assert run([*words, "--images", "16", "--metrics", "cosine"], capsys)[0] == 0
    assert audits(done) == 2
    assert run([*words, "--images", "20", "--metrics", "cosine"], capsys)[0] == 0
    assert run([*words, "--images", "16", "--metrics", "cosine,spearman"], capsys)[0] == 0
    assert audits(done) == 2
    assert "constant-map" in (tmp_path / "leaderboard.csv").read_text()
    assert run([*words, "--images", "8", "--metrics", "cosine"], capsys)[0] == 0
    assert audits(done) == 4, "of fewer images than are audited"
    assert run([*words, "--images", "16", "--metrics", "cosine", "--eps", "1/255"], capsys)[0] == 0
    assert audits(done) == 6, "within another eps"


def test_a_damaged_audit_is_named_and_made_again(tmp_path: Path, done: list[str], capsys: Capture) -> None:
    words = [*AUDITED, "--images", "4", "--metrics", "cosine", "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    flagged = next(path for path in (tmp_path / "audits").iterdir() if "constant-map" in path.read_text())
    audit = json.loads(flagged.read_text())
    flagged.write_text(json.dumps(audit | {"flags": []}))
    code, out, _ = run(["verify", tmp_path], capsys)
    assert code == 1
    assert f"{flagged} is damaged; remove it" in out
    (tmp_path / "rows.jsonl").unlink()
    done.clear()
    code, _, err = run(words, capsys)
    assert code == 0
    assert f"{flagged} is damaged; auditing again" in err
    assert audits(done) == 1
    assert "constant-map" in (tmp_path / "leaderboard.csv").read_text()
    assert run(["verify", tmp_path], capsys)[0] == 0
