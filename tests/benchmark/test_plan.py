"""What a run is going to do: jobs with keys, each after those it needs, as small plain data."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from attrobust.benchmark.checkpoints.card import shipped
from attrobust.benchmark.executors.jobs import AuditJob, BatchJob, CellJob, ClaimJob, NetworkJob, RetrainingJob
from attrobust.benchmark.request.protocol import load_protocol
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.plan import Plan
from attrobust.benchmark.run.runner import Runner
from attrobust.benchmark.run.subjects import baselines_of

from helpers.requests import request_of

SMALL = 10_000
"""Bytes of a pickled job, which names images and weights and holds none."""


def request(folder: Path, **changes: object) -> Request:
    """A user's checkpoint, two methods, an attack that needs a source model, sanity-check baselines and audits."""
    asked: dict[str, object] = {
        "images": 6,
        "methods": ("aga", "r2et:k=20"),
        "explainers": ("saliency", "ig:steps=4"),
        "attacks": ("noise:draws=2", "transfer:steps=2"),
        "metrics": ("cosine", "gini", "curvature:iterations=2", "roar:levels=50"),
        "baselines": ("constant-map", "untrained"),
    }
    settings = {name: value for name, value in changes.items() if name in ("choose", "retrain", "epochs", "batch_size")}
    asked |= {name: value for name, value in changes.items() if name not in settings}
    shutil.copy(shipped()["digits/natural"].with_suffix(".pt"), folder / "mine.pt")
    protocol = load_protocol("quick").override(**asked)
    return request_of(protocol, folder / "run", checkpoints=[f"mine={folder / 'mine.pt'}"], **settings)


def plan_of(asked: Request) -> Plan:
    runner = Runner(asked, [])
    return runner.planner.plan([*runner.subjects, *baselines_of(asked, runner.subjects)])


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(request(tmp_path_factory.mktemp("plan"), seeds=(0, 1)))


def test_every_job_comes_once_and_after_those_it_needs(plan: Plan) -> None:
    done: set[str] = set()
    for job in plan.jobs:
        assert job.key not in done
        assert done.issuperset(job.needs)
        done.add(job.key)


def test_a_cell_needs_its_networks_the_audit_of_its_flags_and_its_parts(plan: Plan) -> None:
    by_key = {job.key: job for job in plan.jobs}
    cells = [job for job in plan.jobs if isinstance(job, CellJob)]
    for job in cells:
        transfer = job.attack is not None and job.attack.name == "transfer"
        audited = job.attack is not None and job.explainer is not None and not job.label.startswith("constant-map")
        audited = audited and not job.label.startswith("untrained")
        retrained = job.scope == "training"
        in_batches = not retrained and (job.scope != "accuracy" or job.attack is not None)
        networks = [NetworkJob, *[NetworkJob] * transfer]
        parts = [BatchJob] * in_batches + [RetrainingJob] * (retrained and job.metrics[0].item.trainings)
        needs = [by_key[key] for key in job.needs]
        assert [type(need) for need in needs] == [*networks, *[AuditJob] * audited, *parts], job.label
        assert job.needs[0] == job.network.key
        for need in needs:
            if isinstance(need, (BatchJob, RetrainingJob)):
                assert [type(by_key[key]) for key in need.needs] == networks
                assert need.whole.cell == job.cell
    assert {job.scope for job in cells} == {"accuracy", "attack", "map", "network", "training"}


def test_batches_are_all_images_in_order(tmp_path: Path) -> None:
    jobs = plan_of(request(tmp_path, images=7, batch_size=3)).jobs
    batches = [job for job in jobs if isinstance(job, BatchJob) and job.label == "aga / saliency / noise:draws=2"]
    assert [job.rows for job in batches] == [range(3), range(3, 6), range(6, 7)]
    assert [job.images for job in batches] == [3, 3, 1]


def test_a_network_that_others_go_on_from_is_obtained_first_where_it_has_to_be_trained(tmp_path: Path) -> None:
    asked = request(tmp_path, methods=("r2et:k=20",), retrain=True, epochs=1)
    networks = [job for job in plan_of(asked).jobs if isinstance(job, NetworkJob)]
    assert [job.label for job in networks] == ["natural", "r2et:k=20", "mine", "untrained"]
    assert networks[1].needs == (networks[0].key,)
    assert networks[0].lent, "attacks use it too"
    fresh = request(tmp_path, methods=("r2et",))
    assert [job.label for job in plan_of(fresh).jobs if isinstance(job, NetworkJob)][:2] == [
        "r2et",
        "source model natural",
    ]


def test_a_users_checkpoint_is_examined_when_its_accuracy_is_known(plan: Plan) -> None:
    claims = [job for job in plan.jobs if isinstance(job, ClaimJob)]
    assert [job.label for job in claims] == ["mine"]
    (accuracy,) = (job for job in plan.jobs if job.key == claims[0].needs[1])
    assert accuracy.label == "mine / accuracy"


def test_a_baseline_of_the_maps_of_a_users_checkpoint_is_not_examined_itself(tmp_path: Path) -> None:
    plan = plan_of(request(tmp_path, methods=()))
    assert "constant-map of mine" in {part.subject.label for part in plan.parts}
    assert [job.label for job in plan.jobs if isinstance(job, ClaimJob)] == ["mine"]


def test_equal_requests_have_equal_jobs_and_other_requests_other_keys(tmp_path: Path, plan: Plan) -> None:
    again = plan_of(request(tmp_path, seeds=(0, 1)))
    assert [job.key for job in again.jobs] == [job.key for job in plan.jobs]
    assert [(job.needs, job.label, job.group) for job in again.jobs] == [
        (job.needs, job.label, job.group) for job in plan.jobs
    ]
    cells = {job.key for job in plan.jobs if isinstance(job, CellJob) and job.scope == "attack"}
    for change in ({"eps": "4/255"}, {"images": 7}, {"attacks": ("noise:draws=3", "transfer:steps=3")}):
        other = plan_of(request(tmp_path, seeds=(0, 1), **change))
        assert cells.isdisjoint(job.key for job in other.jobs)


def test_jobs_and_requests_are_small_data_that_can_be_pickled(tmp_path: Path, plan: Plan) -> None:
    for job in plan.jobs:
        data = pickle.dumps(job)
        assert len(data) < SMALL, job.label
        assert pickle.loads(data) == job
    asked = request(tmp_path)
    assert pickle.loads(pickle.dumps(asked)) == asked


def test_choosing_is_a_stage_of_its_own_whose_networks_the_table_uses_again(tmp_path: Path) -> None:
    asked = request(tmp_path, methods=("natural", "softplus:beta={3,30}"), choose="cosine", attacks=("topk:steps=2",))
    runner = Runner(asked, [])
    first = runner.planner.plan([subject for subject in runner.subjects if subject.candidate_of])
    cells = [job for job in first.jobs if isinstance(job, CellJob)]
    assert {job.split for job in cells} == {"val"}
    assert not any(job.audit for job in cells)
    assert [len(part.cells) for part in first.parts] == [2, 2]
    chosen = replace(first.parts[1].subject, candidate_of="")
    second = runner.planner.plan([runner.subjects[0], chosen])
    assert second.parts[1].network == first.parts[1].network
    assert {job.split for job in second.jobs if isinstance(job, CellJob)} == {"test"}
