"""Shares of a run, computed by commands that know nothing of each other: put together they are the same table."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from attrobust.benchmark.checkpoints.card import shipped
from attrobust.benchmark.command.main import main
from attrobust.benchmark.executors.jobs import AuditJob, CellJob, ClaimJob, NetworkJob
from attrobust.benchmark.request.protocol import load_protocol
from attrobust.benchmark.request.shard import Shard
from attrobust.benchmark.run.runner import Runner
from attrobust.benchmark.run.shards import blocks, share
from attrobust.benchmark.run.subjects import baselines_of
from attrobust.benchmark.store.store import TABLES, Store

from helpers.requests import request_of
from helpers.runs import SMALL, run, write_plan, written_plan

Capture = pytest.CaptureFixture[str]
WORDS = [*SMALL, "--methods", "natural", "--seeds", "0,1", "--epochs", "1", "--images", "6", "--no-audit"]
WORDS += ["--explainers", "saliency", "--attacks", "noise:draws=1,transfer:steps=1", "--metrics", "cosine,gini"]
WORDS += ["--accuracy-attack", "pgd:steps=1", "--baselines", "constant-map,untrained"]
CHOOSING = [*SMALL, "--methods", "natural,pgd-at:steps={1,2}", "--choose", "cosine", "--epochs", "1", "--images", "4"]
CHOOSING += ["--explainers", "saliency", "--attacks", "noise:draws=1,topk:steps=1", "--metrics", "cosine", "--no-audit"]
CHOOSING += ["--accuracy-attack", "none", "--baselines", "none"]


def command(words: list[str], folder: Path, *more: str) -> None:
    assert main([*words, "--out", str(folder), *more]) == 0


def rows_of(folder: Path, place: Path) -> Path:
    """A folder in which everything that a run has computed is there already, but not its record."""
    names = ("run.json", "log.txt", ".lock", *TABLES)
    return Path(shutil.copytree(folder, place, ignore=shutil.ignore_patterns(*names)))


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run, and the same in three shards, of networks with two seeds, a user's checkpoint and baselines."""
    folder = tmp_path_factory.mktemp("shards")
    weights = shutil.copy(shipped()["digits/natural"].with_suffix(".pt"), folder / "mine.pt")
    words = [*WORDS, "--checkpoint", f"mine={weights}:lenet:width=16,hidden=64"]
    command(words, folder / "whole")
    for number in (1, 2, 3):
        command(words, folder / str(number), "--shard", f"{number}/3")
    return folder


@pytest.fixture
def shards(folder: Path, tmp_path: Path) -> list[Path]:
    """Copies of the three shards."""
    return [Path(shutil.copytree(folder / str(number), tmp_path / str(number))) for number in (1, 2, 3)]


def test_three_shards_are_put_together_to_the_table_of_one_run(
    folder: Path, shards: list[Path], capsys: Capture
) -> None:
    out = shards[0].parent / "merged"
    code, shown, err = run(["report", shards[2], shards[0], shards[1], "--out", out], capsys)
    assert code == 0, err
    assert tables(out) == tables(folder / "whole")
    assert "\nProtocol quick" in shown
    entries = [len(written_plan(shard)["entries"]) for shard in shards]
    assert sum(entries) == len(written_plan(folder / "whole")["entries"])
    assert min(entries) > 1


def test_more_shards_than_networks_make_the_same_table(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    words = [*WORDS, "--checkpoint", f"mine={folder / 'mine.pt'}:lenet:width=16,hidden=64"]
    out = [tmp_path / str(number) for number in range(1, 6)]
    for number, place in enumerate(out, start=1):
        rows_of(folder / "whole", place)
        command(words, place, "--shard", f"{number}/5")
    assert run(["report", *out, "--out", tmp_path / "merged"], capsys)[0] == 0
    assert tables(tmp_path / "merged") == tables(folder / "whole")


def test_every_shard_chooses_the_same_member_of_a_sweep(tmp_path: Path, capsys: Capture) -> None:
    command(CHOOSING, tmp_path / "whole")
    out = [tmp_path / "1", tmp_path / "2"]
    for number, place in enumerate(out, start=1):
        rows_of(tmp_path / "whole", place)
        command(CHOOSING, place, "--shard", f"{number}/2")
    assert run(["verify", *out], capsys)[0] == 0
    assert run(["report", *out, "--out", tmp_path / "merged"], capsys)[0] == 0
    assert tables(tmp_path / "merged") == tables(tmp_path / "whole")
    plan = Store(out[1]).plan()
    other = json.loads(json.dumps(written_plan(out[1])))
    other["choices"][0]["candidates"][0]["score"] += 1e-6
    write_plan(out[1], other)
    code, _, err = run(["report", *out, "--out", tmp_path / "other"], capsys)
    assert code == 2
    assert f"do not have the same choice from {plan.choices[0].sweep}" in err


def test_a_missing_shard_is_named_with_what_it_has_of_the_table_and_no_table_is_written(
    shards: list[Path], capsys: Capture
) -> None:
    out = shards[0].parent / "merged"
    code, shown, err = run(["report", shards[0], shards[2], "--out", out], capsys)
    assert (code, shown) == (1, "")
    assert err.count("\n") == 1
    first = written_plan(shards[1])["entries"][0]
    count = len(written_plan(shards[1])["entries"])
    start = len(written_plan(shards[0])["entries"])
    assert f"shard 2/3 is missing (numbers {start + 1} to {start + count} of" in err
    label = written_plan(shards[1])["subjects"][first["subject"]]["label"]
    assert f"from {label}" in err
    assert not out.exists()
    assert run(["report", shards[0]], capsys)[0] == 1, "a shard alone is no table"


def test_a_shard_that_was_interrupted_is_named(shards: list[Path], capsys: Capture) -> None:
    (shards[1] / "run.json").unlink()
    code, _, err = run(["report", *shards, "--out", shards[0].parent / "merged"], capsys)
    assert code == 1
    assert "shard 2/3 is missing" in err
    assert f"{shards[1]} is not finished" in err
    code, _, err = run(["report", *shards[:1], shards[0].parent / "mistyped", "--out", shards[0] / "merged"], capsys)
    assert code == 2
    assert "mistyped holds no run" in err
    for command in ("report", "verify"):
        code, out, err = run([command, shards[1]], capsys)
        assert code == 1
        assert f"incomplete: {shards[1]} is not finished; the same command again goes on" in out + err


def test_shards_that_do_not_belong_together_are_refused(folder: Path, shards: list[Path], capsys: Capture) -> None:
    out = shards[0].parent / "merged"
    twice = shutil.copytree(shards[0], shards[0].parent / "again")
    code, _, err = run(["report", *shards, twice, "--out", out], capsys)
    assert code == 2
    assert f"{shards[0]} and {twice} hold the same shard" in err
    plan = written_plan(shards[1])
    for subject in plan["subjects"]:
        subject["sha256"] = "ab" * 32
    write_plan(shards[1], plan)
    code, _, err = run(["report", *shards, "--out", out], capsys)
    assert code == 2
    assert "have other weights of" in err
    assert "copy checkpoints/" in err
    assert not out.exists()


def test_verify_holds_a_shard_to_its_share(shards: list[Path], capsys: Capture) -> None:
    code, shown, _ = run(["verify", *shards], capsys)
    assert code == 0, shown
    plan = written_plan(shards[0])
    plan["shard"]["starts"][1] += 1
    write_plan(shards[0], plan)
    code, shown, _ = run(["verify", shards[0]], capsys)
    assert code == 1
    assert "does not have its rows" in shown
    assert "not as the run wrote it" in shown


def test_a_shard_goes_on_with_its_own_share_and_leaves_other_folders_alone(
    folder: Path, shards: list[Path], capsys: Capture
) -> None:
    words = [*WORDS, "--checkpoint", f"mine={folder / 'mine.pt'}:lenet:width=16,hidden=64"]
    code, shown, _ = run([*words, "--shard", "2/3", "--out", shards[1], "--dry-run"], capsys)
    assert code == 0
    done = shown.splitlines()[1]
    assert done.startswith("shard 2/3: ")
    cells, total = done.split()[2].split("/")
    assert cells == total
    assert int(total) < 18
    for other in (["--shard", "1/3"], []):
        code, _, err = run([*words, *other, "--out", shards[1]], capsys)
        assert code == 2
        assert "holds shard 2/3 of a run" in err
    code, _, err = run([*words, "--shard", "2/3", "--out", folder / "whole"], capsys)
    assert code == 2
    assert "holds all of a run; give shard 2/3 another" in err


@pytest.mark.parametrize("text", ["3", "0/3", "4/3", "a/b", "1/0", "", "1/2/3", "-1/3"])
def test_a_share_that_is_none_is_refused(text: str, capsys: Capture) -> None:
    code, _, err = run([f"--shard={text}"], capsys)
    assert code == 2
    assert err.startswith("error: --shard")
    assert err.count("\n") == 1


def test_a_shard_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--methods", "natural", "--images", "2", "--explainers", "saliency", "--attacks", "noise:draws=1"]
    words += ["--accuracy-attack", "none", "--no-audit", "--baselines", "none", "--metrics", "cosine"]
    code, shown, _ = run([*words, "--shard", "1/2", "--json"], capsys)
    assert code == 0
    assert (tmp_path / "results/runs/quick-1-of-2/run.json").is_file()
    assert json.loads(shown)["shard"] == "1/2"


def costs_one(_network: NetworkJob) -> int:
    return 1


def test_a_share_has_the_jobs_that_its_cells_need_and_no_others(tmp_path: Path) -> None:
    protocol = load_protocol("quick").override(
        methods=("natural", "aga"),
        images=4,
        explainers=("saliency", "ig:steps=2"),
        attacks=("noise:draws=1", "transfer:steps=1"),
        metrics=("cosine", "gini"),
        baselines=("constant-map", "untrained"),
    )
    weights = shutil.copy(shipped()["digits/natural"].with_suffix(".pt"), tmp_path / "mine.pt")
    checkpoints = [f"mine={weights}:lenet:width=16,hidden=64"]
    request = request_of(protocol, tmp_path / "run", checkpoints=checkpoints, batch_size=4)
    runner = Runner(request, [])
    plan = runner.planner.plan([*runner.subjects, *baselines_of(request, runner.subjects)])
    whole = [(part.subject.label, cell.column, cell.job.key) for part in plan.parts for cell in part.cells]
    for count in (1, 4, len(whole)):
        shares = [share(plan, Shard(number=i + 1, count=count), 1, costs_one).plan for i in range(count)]
        cells = [
            (part.subject.label, cell.column, cell.job) for own in shares for part in own.parts for cell in part.cells
        ]
        assert [(label, column, job.key) for label, column, job in cells] == whole
        for own in shares:
            keys = {job.key for job in own.jobs}
            needed = {key for job in own.jobs for key in job.needs}
            assert needed <= keys
            computed = [job for job in own.jobs if isinstance(job, CellJob)]
            networks = {network.key for job in computed for network in (job.network, job.source_model) if network}
            assert {job.key for job in own.jobs if isinstance(job, NetworkJob)} == networks
            audits = {job.key for job in own.jobs if isinstance(job, AuditJob)}
            assert audits == {job.audit for job in computed} - {""}
        assert sum(isinstance(job, ClaimJob) for own in shares for job in own.jobs) == 1


def dearest(starts: Sequence[int], costs: Sequence[int], names: Sequence[str]) -> int:
    """What the most expensive block costs, where each pays 10 for every name in it."""
    blocks_of = itertools.pairwise((*starts, len(costs)))
    return max(sum(costs[a:b]) + 10 * len(set(names[a:b])) for a, b in blocks_of)


def test_blocks_follow_each_other_and_the_most_expensive_costs_as_little_as_it_can() -> None:
    rng = random.Random(0)
    for _ in range(40):
        costs = [rng.randint(1, 9) for _ in range(7)]
        names = sorted(rng.choices("abc", k=7))
        needed = [{name: 10} for name in names]

        starts = blocks(costs, needed, 3)
        cuts = [(0, *cut) for cut in itertools.combinations_with_replacement(range(8), 2)]
        assert tuple(starts) in cuts
        assert dearest(starts, costs, names) == min(dearest(cut, costs, names) for cut in cuts)
    assert blocks([1], [{}], 3) == [0, 1, 1], "more shards than cells"
