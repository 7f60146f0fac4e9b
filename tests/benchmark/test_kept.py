"""What a run has computed is on disk the moment it ends: after an interruption only the rest is computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attrobust.benchmark.checkpoints import find
from attrobust.benchmark.evaluation import retraining
from attrobust.benchmark.executors.base import Job, Result
from attrobust.benchmark.executors.jobs import AuditJob, NetworkJob
from attrobust.benchmark.executors.worker import Worker

from helpers.runs import SMALL, run

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
    assert f"{flagged} is damaged; it is set aside in {tmp_path / 'damaged' / 'audits' / flagged.name}" in err
    assert audits(done) == 1
    assert "constant-map" in (tmp_path / "leaderboard.csv").read_text()
    assert run(["verify", tmp_path], capsys)[0] == 0


def test_whatever_is_interrupted_nothing_that_ended_is_computed_again(
    tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = ["--dataset", "digits:size=16", *SMALL, "--retrain", "--epochs", "1", "--images", "4", "--batch-size", "2"]
    words += ["--methods", "natural,weight-decay:lam={0.01,0.1}", "--choose", "cosine", "--explainers", "saliency"]
    words += ["--attacks", "topk:steps=1,transfer:steps=1", "--metrics", "cosine,gini,roar:levels=50,repeats=1"]
    words += ["--accuracy-attack", "apgd:steps=1", "--baselines", "random-map", "--out", str(tmp_path)]
    trained: list[str] = []
    for module in (find, retraining):
        real = module.train

        def counting(*args: Any, real: Any = real, **options: Any) -> Any:
            result = real(*args, **options)
            trained.append(str(options.get("job") or options["progress"]))
            return result

        monkeypatch.setattr(module, "train", counting)

    codes, most = [130], 0
    carried_out = Worker._carried_out

    def interrupting(self: Worker, job: Job) -> Result:
        if len(done) >= most:
            raise KeyboardInterrupt
        return carried_out(self, job)

    monkeypatch.setattr(Worker, "_carried_out", interrupting)
    while codes[-1] == 130:
        assert len(codes) < 20
        most = len(done) + 7
        codes.append(run(words, capsys)[0])
    assert codes[-1] == 0
    assert len(codes) > 4
    # What a retraining has learnt is on disk, so that its job is but a look at it.
    once = [line for line in done if not line.startswith("RetrainingJob")]
    assert sorted(once) == sorted(set(once))
    assert {line.split()[0] for line in done} == {"AuditJob", "BatchJob", "CellJob", "RetrainingJob"}
    assert sorted(trained) == sorted(set(trained))
    assert len(trained) > 4
