"""Runs that grow compute what is new and nothing else; what an interruption leaves is whole batches."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from attrobust.attacks.base import Attack, AttackOutput, Context
from attrobust.benchmark.evaluation.kept import decoded, encoded, some_of
from attrobust.benchmark.run.coverage import Stretch, batches, stretches, usable
from attrobust.benchmark.store.store import Store
from attrobust.networks.passes import Passes

from helpers.boards import rewritten
from helpers.runs import run, written_rows

Capture = pytest.CaptureFixture[str]
WORDS = ["--methods", "natural", "--explainers", "saliency", "--baselines", "none", "--no-audit", "--batch-size", "4"]
WORDS += ["--accuracy-attack", "none", "--attacks", "topk:steps=2"]
METRICS = ["--metrics", "cosine"]


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Positions of the images that attacks are run on."""
    found: list[int] = []
    real = Attack._enforced

    def noted(self: Attack, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
        found.extend(context.ids)
        return real(self, context, x, y)

    monkeypatch.setattr(Attack, "_enforced", noted)
    yield found


def table(folder: Path) -> str:
    return (folder / "leaderboard.csv").read_text()


def test_more_images_attack_only_those_that_are_new(tmp_path: Path, attacked: list[int], capsys: Capture) -> None:
    assert run([*WORDS, *METRICS, "--images", "6", "--out", tmp_path / "grown"], capsys)[0] == 0
    assert attacked == [0, 1, 2, 3, 4, 5]
    attacked.clear()
    assert run([*WORDS, *METRICS, "--images", "11", "--out", tmp_path / "grown"], capsys)[0] == 0
    assert attacked == [6, 7, 8, 9, 10]
    assert run([*WORDS, *METRICS, "--images", "11", "--out", tmp_path / "whole"], capsys)[0] == 0
    assert table(tmp_path / "grown") == table(tmp_path / "whole")


def test_more_metrics_attack_nothing_and_score_the_same_images(
    tmp_path: Path, attacked: list[int], capsys: Capture
) -> None:
    assert run([*WORDS, *METRICS, "--images", "6", "--out", tmp_path / "grown"], capsys)[0] == 0
    attacked.clear()
    more = ["--metrics", "cosine,spearman,topk:k=10%"]
    assert run([*WORDS, *more, "--images", "6", "--out", tmp_path / "grown"], capsys)[0] == 0
    assert attacked == []
    assert run([*WORDS, *more, "--images", "6", "--out", tmp_path / "whole"], capsys)[0] == 0
    grown, whole = (written_rows(tmp_path / name) for name in ("grown", "whole"))
    assert {key: row["passes"] for key, row in grown.items() if "passes" in row} == {
        key: row["passes"] for key, row in whole.items() if "passes" in row
    }
    for key in whole:
        names = [tmp_path / name / "scores" / f"{key}.npz" for name in ("grown", "whole")]
        assert names[0].read_bytes() == names[1].read_bytes()
    assert table(tmp_path / "grown") == table(tmp_path / "whole")


def test_both_at_once_attack_the_new_images_for_all_metrics(
    tmp_path: Path, attacked: list[int], capsys: Capture
) -> None:
    assert run([*WORDS, *METRICS, "--images", "6", "--out", tmp_path / "grown"], capsys)[0] == 0
    attacked.clear()
    both = ["--metrics", "spearman,cosine", "--images", "9"]
    assert run([*WORDS, *both, "--out", tmp_path / "grown"], capsys)[0] == 0
    assert attacked == [6, 7, 8]
    assert run([*WORDS, *both, "--out", tmp_path / "whole"], capsys)[0] == 0
    assert table(tmp_path / "grown") == table(tmp_path / "whole")


def test_images_that_are_not_kept_are_attacked_again(tmp_path: Path, attacked: list[int], capsys: Capture) -> None:
    words = [*WORDS, "--images", "4", "--keep-images", "none", "--out", tmp_path]
    assert run([*words, *METRICS], capsys)[0] == 0
    assert not (tmp_path / "attacked").exists()
    attacked.clear()
    assert run([*words, "--metrics", "cosine,spearman"], capsys)[0] == 0
    assert attacked == [0, 1, 2, 3]


def test_a_batch_decides_what_a_batch_dependent_attack_does(
    tmp_path: Path, attacked: list[int], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("attrobust.attacks.topk.TopK.batch_dependent", True)
    assert run([*WORDS, *METRICS, "--images", "6", "--out", tmp_path], capsys)[0] == 0
    attacked.clear()
    assert run([*WORDS, *METRICS, "--images", "8", "--out", tmp_path], capsys)[0] == 0
    assert attacked == [4, 5, 6, 7], "the first four were a whole batch, the other two were not"


@pytest.mark.parametrize("place", ["attacked", "pieces"])
def test_damaged_files_are_computed_again(
    place: str, tmp_path: Path, attacked: list[int], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = [*WORDS, "--images", "8"]
    with monkeypatch.context() as patch:
        patch.setattr("attrobust.benchmark.store.pieces.Pieces.forget", lambda *_: None)
        assert run([*words, *METRICS, "--out", tmp_path / "run"], capsys)[0] == 0
    for path in (tmp_path / "run" / place).glob("*/*"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    (tmp_path / "run" / "rows.jsonl").unlink()
    attacked.clear()
    wanted = ["--metrics", "cosine,spearman"] if place == "attacked" else METRICS
    code, _, err = run([*words, *wanted, "--out", tmp_path / "run"], capsys)
    assert code == 0
    assert "is damaged; it is set aside in" in err
    assert attacked == ([*range(8)] if place == "attacked" else [])
    assert run([*words, *wanted, "--out", tmp_path / "whole"], capsys)[0] == 0
    assert table(tmp_path / "run") == table(tmp_path / "whole")


def test_an_interruption_loses_the_batch_in_flight(
    tmp_path: Path, attacked: list[int], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    noted = Attack._enforced

    def interrupted(self: Attack, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
        if context.ids[0] == 8:
            raise KeyboardInterrupt
        return noted(self, context, x, y)

    words = [*WORDS, *METRICS, "--images", "12"]
    with monkeypatch.context() as patch:
        patch.setattr(Attack, "_enforced", interrupted)
        assert run([*words, "--out", tmp_path / "run"], capsys)[0] == 130
    assert attacked == [*range(8)]
    attacked.clear()
    assert run([*words, "--out", tmp_path / "run"], capsys)[0] == 0
    assert attacked == [*range(8, 12)]
    assert run([*words, "--out", tmp_path / "whole"], capsys)[0] == 0
    assert table(tmp_path / "run") == table(tmp_path / "whole")
    assert not any((tmp_path / "run" / "pieces").glob("*"))


def test_a_batch_that_fails_is_all_that_is_computed_again(
    tmp_path: Path, attacked: list[int], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    noted = Attack._enforced

    def failing(self: Attack, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
        if context.ids[0] == 4:
            raise RuntimeError("out of luck")
        return noted(self, context, x, y)

    words = [*WORDS, *METRICS, "--images", "12", "--out", tmp_path]
    with monkeypatch.context() as patch:
        patch.setattr(Attack, "_enforced", failing)
        code, _, err = run(words, capsys)
    assert code == 1
    assert "natural / saliency / topk:steps=2: RuntimeError: out of luck" in err
    assert attacked == [*range(4)]
    attacked.clear()
    assert run(words, capsys)[0] == 0
    assert attacked == [*range(4, 12)]


def test_verify_names_a_damaged_file_and_clean_removes_what_can_be_computed_again(
    tmp_path: Path, attacked: list[int], capsys: Capture
) -> None:
    words = [*WORDS, *METRICS, "--images", "4", "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    assert run(["verify", tmp_path], capsys)[0] == 0
    path = next((tmp_path / "attacked").glob("*/*"))
    path.write_bytes(path.read_bytes()[:-1])
    code, out, _ = run(["verify", tmp_path], capsys)
    assert code == 1
    assert f"{path} is damaged; remove it" in out
    size = path.stat().st_size
    code, out, _ = run(["clean", tmp_path], capsys)
    assert code == 0
    assert f"{size} bytes" in out
    assert not (tmp_path / "attacked").exists()
    assert run(["verify", tmp_path], capsys)[0] == 0
    assert run([*words[:-1], tmp_path], capsys)[0] == 0


def test_a_rerun_sets_aside_what_is_damaged_though_nothing_needs_it(
    tmp_path: Path, attacked: list[int], capsys: Capture
) -> None:
    words = [*WORDS, *METRICS, "--images", "4", "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    path = next((tmp_path / "attacked").glob("*/*"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    attacked.clear()
    code, _, err = run(words, capsys)
    assert (code, attacked) == (0, [])
    assert f"{path} is damaged; it is set aside in {tmp_path / 'damaged'}" in err
    assert run(["verify", tmp_path], capsys)[0] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_come_back_to_the_bit(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 2, 5, 4, generator=generator, dtype=dtype)
    results = (x + 0.1 * torch.randn(4, 3, 2, 5, 4, generator=generator, dtype=dtype)).clamp(0, 1)
    results[2, 1, 0, 0, :2] = torch.tensor([torch.nan, -0.0], dtype=dtype)
    output = AttackOutput(
        x=results[0],
        others=results[1:],
        feasible=torch.tensor([True, False, True]),
        passes=Passes(forward=5, backward=4, double_backward=3),
        members=("TopK", "Mass"),
        sources=torch.tensor([[0, 1, -1]] * 4),
    )
    data = encoded(output, x)
    found = decoded(data, x)
    assert torch.equal(_bytes(found.x), _bytes(output.x))
    assert torch.equal(_bytes(found.others), _bytes(output.others))
    assert torch.equal(found.feasible, output.feasible)
    assert torch.equal(found.sources, output.sources)
    assert (found.passes, found.members) == (output.passes, output.members)
    part = some_of(found, range(1, 3))
    assert torch.equal(_bytes(part.others), _bytes(output.others[:, 1:3]))
    assert part.passes == Passes(), "said of the first image, so that no pass counts twice"
    with pytest.raises(ValueError, match="kept results are of images"):
        decoded(data, x[:2])


def _bytes(images: Tensor) -> Tensor:
    return images.contiguous().view(torch.uint8)


def brute_force(batch: range, covered: dict[int, list[range]], kept: list[range]) -> list[tuple[int, Any, Any]]:
    """For every image of a batch which metrics it lacks, and with whom its attack is kept."""
    found = []
    for row in batch:
        lacking = tuple(metric for metric, parts in covered.items() if not any(row in part for part in parts))
        if lacking:
            found.append((row, lacking, next((part for part in kept if row in part), None)))
    return found


def test_what_is_left_is_what_a_look_at_every_image_says() -> None:
    rng = random.Random(0)
    for _ in range(300):
        total, size = rng.randrange(1, 24), rng.randrange(1, 9)
        whole = size if rng.random() < 0.3 else 0

        def parts(total: int = total, whole: int = whole) -> list[range]:
            ends = [sorted(rng.sample(range(30), 2)) for _ in range(rng.randrange(4))]
            return usable((range(*pair) for pair in ends), total, whole)

        covered, kept = {metric: parts() for metric in range(rng.randrange(1, 4))}, parts()
        for batch in batches(total, size):
            left = stretches(batch, covered, kept)
            rows = [(row, item.lacking, item.kept) for item in left for row in item.rows]
            assert rows == brute_force(batch, covered, kept)
            assert all(_differ(*pair) for pair in itertools.pairwise(left)), "no stretch is longer than it could be"
            if whole and left:
                assert [item.rows for item in left] == [batch], "a batch is not taken apart"


def _differ(a: Stretch, b: Stretch) -> bool:
    return a.rows.stop != b.rows.start or (a.lacking, a.kept) != (b.lacking, b.kept)


def test_new_parts_do_not_change_which_old_ones_are_taken() -> None:
    rng = random.Random(1)
    for _ in range(300):
        total = rng.randrange(1, 24)
        parts = [range(*sorted(rng.sample(range(28), 2))) for _ in range(rng.randrange(5))]
        taken = usable(parts, total)
        assert all(a.stop <= b.start for a, b in itertools.pairwise(taken))
        gaps = [item.rows for batch in batches(total, 5) for item in stretches(batch, {0: taken}, [])]
        again = usable([*parts, *gaps], total)
        assert set(taken) <= set(again)
        assert [row for part in again for row in part] == [*range(total)]


def test_rows_are_not_taken_for_other_images(tmp_path: Path, attacked: list[int], capsys: Capture) -> None:
    assert run([*WORDS, *METRICS, "--images", "4", "--out", tmp_path], capsys)[0] == 0
    store = Store(tmp_path)
    data = next(row.cell.data_sha256 for row in store.rows().values() if row.cell.images == 4)
    rewritten(tmp_path, lambda line: json.loads(json.dumps(line).replace(data, "0" * 64)))
    attacked.clear()
    assert run([*WORDS, *METRICS, "--images", "8", "--keep-images", "none", "--out", tmp_path], capsys)[0] == 0
    assert attacked == [4, 5, 6, 7], "the results of the attack on the first four are kept"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_batch_that_finds_no_memory_is_halved(
    error: Exception, tmp_path: Path, attacked: list[int], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    noted = Attack._enforced

    def short(self: Attack, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
        if len(x) > 2:
            raise error
        return noted(self, context, x, y)

    words = [*WORDS, *METRICS, "--images", "9"]
    with monkeypatch.context() as patch:
        patch.setattr(Attack, "_enforced", short)
        code, _, err = run([*words, "--out", tmp_path / "short"], capsys)
    assert code == 0, err
    assert "going on with 2 images at a time" in err
    assert attacked == [*range(9)]
    assert run([*words, "--out", tmp_path / "whole"], capsys)[0] == 0
    assert table(tmp_path / "short") == table(tmp_path / "whole")


def test_memory_that_is_short_for_one_image_or_for_a_batch_that_decides_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def none(self: Attack, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Attack, "_enforced", none)
    words = [*WORDS, *METRICS, "--images", "4"]
    code, _, err = run([*words, "--out", tmp_path / "one"], capsys)
    assert code == 1
    assert "failed: natural / saliency / topk:steps=2: OutOfMemoryError: CUDA out of memory" in err
    monkeypatch.setattr("attrobust.attacks.topk.TopK.batch_dependent", True)
    code, _, err = run([*words, "--out", tmp_path / "decides"], capsys)
    assert code == 1
    assert "going on" not in err
