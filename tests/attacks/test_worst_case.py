"""An attack with several results: every image of every metric is scored on the one that is worst for the model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor, nn

from attrobust import attacks, load
from attrobust.attacks.base import Attack, Context, Results
from attrobust.attacks.topk import TopK
from attrobust.benchmark.evaluation.evaluate import evaluate
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.benchmark.evaluation.scores import worst_result
from attrobust.benchmark.statistics import shares
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.explainers.saliency import Saliency
from attrobust.metrics.base import Metric
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.normalized_l2 import NormalizedL2
from attrobust.metrics.similarity.spearman import Spearman
from attrobust.threat import ThreatModel

from helpers.runs import FAST, run, write_plan, written_plan, written_rows

Capture = pytest.CaptureFixture[str]
METRICS: list[Metric] = [Cosine(), NormalizedL2(), Spearman()]


@dataclass(frozen=True, kw_only=True)
class Draw(Attack):
    """A random point of the ball."""

    stream: str

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return context.threat.scatter(x, context.streams(self.stream).uniform(x))


NAMES = ("one", "two", "three")
MEMBERS: list[Attack] = [Draw(stream=name) for name in NAMES]


@dataclass(frozen=True, kw_only=True)
class Several(Attack):
    """Members side by side; the images of its second result stem from the first and the third by turns."""

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return MEMBERS[1].run(context, x, y)

    def results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        one, two = MEMBERS[0].run(context, x, y), MEMBERS[2].run(context, x, y)
        even = torch.tensor([row % 2 == 0 for row in context.ids])
        mixed = torch.where(even.view(-1, 1, 1, 1), one, two)
        sources = torch.stack([torch.ones(len(x), dtype=torch.int64), torch.where(even, 0, 2)])
        return Results(images=[self.run(context, x, y), mixed], members=NAMES, sources=sources)


@dataclass(frozen=True, kw_only=True)
class Moody(Several):
    """Other members for another batch."""

    def results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        return replace(super().results(context, x, y), members=("one", "two", f"from {context.ids[0]}"))


@dataclass(frozen=True, kw_only=True)
class Counting(Saliency):
    """Saliency that counts the images it explains in float64, as only scoring does."""

    def __call__(self, model: nn.Module, x: Tensor, target: Tensor, **options: Any) -> Tensor:
        EXPLAINED.append(len(x) if x.dtype == torch.float64 else 0)
        return super().__call__(model, x, target, **options)


EXPLAINED: list[int] = []
RULES = Rules(threat=ThreatModel(eps=16 / 255), reduction="abs-sum", label="predicted", seed=3, batch_size=5)


@pytest.fixture(scope="module")
def images(real_images: tuple[Tensor, Tensor]) -> Images:
    return Images(x=real_images[0], y=real_images[1], partners=real_images[0].roll(1, 0))


def test_every_metric_has_the_worst_of_what_each_member_achieves_alone(images: Images) -> None:
    model = load("digits/aga")
    found = evaluate(model, Saliency(), Several(), METRICS, images, RULES)
    alone = [evaluate(model, Saliency(), member, METRICS, images, RULES).values for member in MEMBERS]
    assert found.members == NAMES
    for index, metric in enumerate(METRICS):
        worst = min if type(metric).higher_is_better else max
        for row in range(len(images.y)):
            competing = (1, 0 if row % 2 == 0 else 2)
            member = worst(competing, key=lambda i: float(alone[i][index][row]))
            assert int(found.worst[index][row]) == member
            assert float(found.values[index][row]) == pytest.approx(float(alone[member][index][row]), abs=1e-12)
    assert len({int(member) for worst in found.worst for member in worst}) == 3


def test_a_single_attack_is_the_worst_by_itself(images: Images) -> None:
    found = evaluate(load("digits/aga"), Saliency(), TopK(steps=1), METRICS[:1], images, RULES)
    assert found.members == ("TopK",)
    assert found.worst[0].tolist() == [0] * len(images.y)


def test_clean_images_are_explained_once_a_batch_however_many_results_there_are(images: Images) -> None:
    EXPLAINED.clear()
    evaluate(load("digits/aga"), Counting(), Several(), METRICS, images, RULES)
    assert sum(EXPLAINED) == len(images.y) * (1 + 2)


def test_members_that_change_from_batch_to_batch_are_refused(images: Images) -> None:
    with pytest.raises(ValueError, match="the same, different members in every batch"):
        evaluate(load("digits/aga"), Saliency(), Moody(), METRICS[:1], images, RULES)


@pytest.mark.parametrize("higher", [True, False])
def test_undefined_scores_count_only_where_no_other_is_left_and_equals_go_to_the_first(higher: bool) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (4, 500)).astype(float)
    scores[rng.random(scores.shape) < 0.5] = np.nan
    scores[rng.random(scores.shape) < 0.05] = np.inf
    sources = rng.integers(0, 7, scores.shape)
    values, members = worst_result(torch.tensor(scores), torch.tensor(sources), higher_is_better=higher)
    undefined = 0
    for column in range(scores.shape[1]):
        known = [(scores[row, column], row) for row in range(4) if np.isfinite(scores[row, column])]
        if not known:
            undefined += 1
            assert int(members[column]) == -1
            assert not values[column].isfinite()
            continue
        value = (min if higher else max)(score for score, _ in known)
        first = next(row for score, row in known if score == value)
        assert (float(values[column]), int(members[column])) == (value, sources[first, column])
    assert 10 < undefined < 100


def test_shares_count_every_image_and_belong_to_attacks_of_several_members() -> None:
    worst = np.array([0, 2, 2, -1])
    assert shares(worst, ["a", "b", "c"]) == {"a": 0.25, "b": 0.0, "c": 0.5}
    assert shares(worst * 0, ["a"]) == {}


@pytest.fixture
def registered() -> None:
    attacks.register("several")(Several)


def test_a_run_records_the_shares_of_members_and_verify_recomputes_them(
    registered: None, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    words = ["--methods", "aga", *FAST[:-1], "several,topk:steps=2", "--metrics", "cosine"]
    assert run([*words, "--out", folder], capsys)[0] == 0
    store = Store(folder)
    rows = {row.cell.attack.get("name", ""): row for row in store.rows().values() if isinstance(row, ScoredRow)}
    assert [rows[name].members is not None for name in ("", "topk", "several")] == [False, False, True]
    written = {row["cell"]["attack"].get("name", "") for row in written_rows(folder).values() if "members" in row}
    assert written == {"several"}
    shares_of = rows["several"].members or {}
    found = store.load(rows["several"])
    assert shares_of == {name: np.mean(found.worst == index) for index, name in enumerate(NAMES)}
    assert found.members == [*NAMES]
    assert sum(shares_of.values()) == pytest.approx(1)
    assert run(["verify", folder], capsys)[0] == 0
    for spoilt in ({"one": 1.0, "three": 0.0, "two": 0.0}, {}):
        store.append([structs.replace(rows["several"], members=spoilt)])
        code, out, _ = run(["verify", folder], capsys)
        assert code == 1
        assert f"members are stored as {spoilt}" in out


def test_a_run_from_before_there_were_members_is_still_read(tmp_path: Path, capsys: Capture) -> None:
    folder, old = tmp_path / "run", tmp_path / "old"
    words = ["--methods", "aga", *FAST[:-1], "topk:steps=2", "--metrics", "cosine"]
    assert run([*words, "--out", folder], capsys)[0] == 0
    shutil.copytree(folder, old)
    store = Store(old)
    rows = []
    for row in store.rows().values():
        assert isinstance(row, ScoredRow)
        sha256 = store.save_scores(row.fingerprint, *store.load_scores(row))
        rows.append(structs.replace(row, scores_sha256=sha256))
    (old / "rows.jsonl").unlink()
    store.append(rows)
    plan = written_plan(old) | {"schema": 2}
    for subject in plan["subjects"]:
        subject["baseline"] = subject.pop("baseline")
    plan["recipe"] = plan["subjects"][0]["trained"]["recipe"]
    del plan["accuracy_attack"], plan["comparison"]["accuracy_attack"], plan["digest"]
    write_plan(old, plan)
    assert all(store.load(row).members == [] for row in rows)
    assert run(["verify", old], capsys)[0] == 0
    assert run(["report", old], capsys)[0] == 0
    assert (old / "leaderboard.csv").read_bytes() == (folder / "leaderboard.csv").read_bytes()
