"""What opening, tables and checks of a run of many rows cost; run by hand.

    PYTHONPATH=.:tests python tests/speed/scale.py [--methods 30 --seeds 5 --images 5000 ...]

Writes the rows and files of such a run with the real planner and store, scores drawn at random in place of attacks, and
prints wall and CPU seconds and peak memory, each in a process of its own, of: opening the rows, appending as many lines
again as there are in a hundred cells, planning the run, looking at what is left of it, ``report`` and ``verify``.
Without options three small runs are made, each with twice the methods of the one before, and their ratios are printed:
a step that is linear in rows has ratios of 2 at most.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from attrobust.benchmark import statistics
from attrobust.benchmark.data.base import ArraySplit, Loaded, image_facts
from attrobust.benchmark.evaluation.scores import Scores
from attrobust.benchmark.executors.jobs import CellJob
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.request.protocol import load_protocol
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.cells import rows_of, with_weights
from attrobust.benchmark.run.completed import Completed
from attrobust.benchmark.run.driver import Driver
from attrobust.benchmark.run.grid import table_grid
from attrobust.benchmark.run.plan import Planner
from attrobust.benchmark.run.record import comparison_of, record_of
from attrobust.benchmark.run.rows import scored_rows
from attrobust.benchmark.run.subjects import subjects_of
from attrobust.benchmark.store import store as store_module
from attrobust.benchmark.store.provenance import stamp
from attrobust.benchmark.store.store import Store
from attrobust.networks.passes import Passes

from helpers.processes import Cost, cost_of
from helpers.requests import request_of as quick_request

ROOT = Path(__file__).parents[2]
METHODS = [f"softplus:beta={beta}" for beta in range(1, 101)]
EXPLAINERS = ["saliency", "input-x-gradient", "ig", "smoothgrad", "smoothgrad-square", "vargrad", "uniform-gradient"]
EXPLAINERS += ["gradient-shap", "guided-backprop", "deeplift"]
ATTACKS = ["noise", "topk", "transfer", "frame", "auto"]
METRICS = ["topk:k=10%", "spearman", "cosine", "normalized-l2", "kendall", "pearson", "ssim", "wasserstein"]
METRICS += ["lens-recall", "mass-center"]
AXES = {"methods": METHODS, "explainers": EXPLAINERS, "attacks": ATTACKS, "metrics": METRICS}
SMALL = {"methods": 4, "seeds": 2, "images": 500, "explainers": 4, "attacks": 3, "metrics": 5}
DOUBLINGS = 3


def request_of(sizes: dict[str, int], out: Path) -> Request:
    """The request of such a run; its images are those of ``data_of``."""
    axes = {name: tuple(words[: sizes[name]]) for name, words in AXES.items()}
    protocol = load_protocol("quick").override(
        **axes, images=sizes["images"], seeds=tuple(range(sizes["seeds"])), baselines=()
    )
    return quick_request(protocol, out)


def data_of(request: Request, images: int) -> Loaded:
    """The digits with as many test images as are asked for, drawn at random."""
    loaded = request.dataset.item.load(None)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 1, 28, 28), generator=generator, dtype=torch.uint8)
    test = ArraySplit(pixels, torch.randint(0, 10, (images,), generator=generator))
    return replace(loaded, splits={**loaded.splits, "test": test})


def planner_of(request: Request, data: Loaded) -> Planner:
    return Planner(
        request,
        data,
        table=table_grid(request, data),
        choosing=None,
        networks=Networks(request, data, request.out / "checkpoints"),
        external_sha256={},
        seeds=request.protocol.seeds,
    )


class Draws:
    """Scores of the cells of a run: images, networks, explainers and attacks all have effects of their own.

    Args:
        images: how many.
    """

    def __init__(self, images: int) -> None:
        self._random = np.random.default_rng(0)
        self._difficulty = self._random.normal(0, 0.15, images)
        self._effects: dict[str, float] = {}

    def scores(self, job: CellJob) -> Scores:
        """Of all metrics of a cell; the first lie on a grid, the second are undefined for some images."""
        images, count = len(self._difficulty), max(1, len(job.metrics))
        if not job.metrics:
            values = [(self._random.random(images) < 0.997).astype(np.float64)]
        else:
            names = (job.group, job.network.key, job.explainer, job.attack)
            middle = 0.5 + sum(self._effect(str(name)) for name in names)
            noise = self._random.normal(0, 0.1, (count, images))
            values = list(np.clip(middle + self._difficulty + noise, 0, 1).astype(np.float32).astype(np.float64))
            values[0] = np.round(values[0] * 78) / 78
            if count > 1:
                values[1][self._random.integers(0, images, self._random.integers(0, 4))] = np.nan
        members = ("topk", "frame", "target") if job.attack and job.attack.name == "auto" else ()
        worst = [np.full(images, -1) if not members else self._random.integers(0, 3, images) for _ in values]
        return Scores(
            values=[torch.from_numpy(row) for row in values],
            worst=[torch.from_numpy(row) for row in worst],
            members=members,
            feasible=torch.ones(images, dtype=torch.bool),
            passes=Passes(),
        )

    def _effect(self, name: str) -> float:
        return self._effects.setdefault(name, float(self._random.normal(0, 0.03)))


@contextmanager
def found_together(jobs: Sequence[CellJob], scores: Sequence[Scores]) -> Iterator[None]:
    """Let the intervals of many cells be found at once, which takes a tenth of the time."""
    units = [facts.unit for job in jobs for _, facts in rows_of(job)]
    found = iter(statistics.estimates([row.numpy() for one in scores for row in one.values], units))
    with mock.patch.object(statistics, "estimates", lambda rows, _units: [next(found) for _ in rows]):
        yield


def make(sizes: dict[str, int], out: Path) -> int:
    """Write a run; returns how many rows it has."""
    request = request_of(sizes, out)
    data = data_of(request, sizes["images"])
    planner, store, draws = planner_of(request, data), Store(out), Draws(sizes["images"])
    provenance, completed, rows = stamp("cpu", 2, 64), [], 0
    with store.locked():
        for position, subject in enumerate(subjects_of(request, data)):
            part = planner.plan([subject]).parts[0]
            sha256 = f"{position:064x}"
            jobs = [with_weights(cell.job, sha256, "f" * 64 if cell.job.source_model else "") for cell in part.cells]
            scores = [draws.scores(job) for job in jobs]
            with found_together(jobs, scores):
                for job, drawn in zip(jobs, scores, strict=True):
                    flags = () if job.audit else None
                    found = scored_rows(job, drawn, seconds=1.0, provenance=provenance, flags=flags, store=store)
                    store.append(found)
                    rows += len(found)
            cells = [replace(cell, job=job) for cell, job in zip(part.cells, jobs, strict=True)]
            completed.append(
                Completed(
                    position=position, subject=subject, sha256=sha256, cells=tuple(cells), failures=[], findings={}
                )
            )
        grid = table_grid(request, data)
        comparison = comparison_of(request, grid.data_sha256)
        weights = [(done.subject, done.sha256) for done in completed]
        store.write_plan(
            record_of(
                request, comparison, image_facts(data), weights, completed, [], [], explainer_choices=[], shard=None
            )
        )
    return rows


def opening(sizes: dict[str, int], out: Path) -> None:
    Store(out).rows()


def appending(sizes: dict[str, int], out: Path) -> None:
    store = Store(out)
    rows = list(store.rows().values())[: 100 * sizes["metrics"]]
    start = time.perf_counter()
    with store.locked():
        for first in range(0, len(rows), sizes["metrics"]):
            store.append(rows[first : first + sizes["metrics"]])
    print(f"(of these {time.perf_counter() - start:.2f} s to append {len(rows)} rows)", file=sys.stderr)


def planning(sizes: dict[str, int], out: Path) -> None:
    request = request_of(sizes, out)
    data = data_of(request, sizes["images"])
    plan = planner_of(request, data).plan(subjects_of(request, data))
    print(f"({len(plan.jobs)} jobs)", file=sys.stderr)


def starting(sizes: dict[str, int], out: Path) -> None:
    request = request_of(sizes, out)
    data = data_of(request, sizes["images"])
    driver = Driver(request, Store(out), lambda *_: "")
    parts = planner_of(request, data).plan(subjects_of(request, data)).parts
    done, left = 0, 0
    for part in parts:
        # Of the last network, half of the cells look as if they were to be computed.
        for number, cell in enumerate(part.cells):
            lent = "f" * 64 if cell.job.source_model else ""
            position = part.position if part is not parts[-1] or number % 2 else len(parts)
            job = with_weights(cell.job, f"{position:064x}", lent)
            lacking = driver.lacking(job)
            done += not lacking
            left += sum(len(driver.stretches(batch, job)) for batch in cell.parts) if lacking else 0
    print(f"({done} cells are done, {left} batches are left)", file=sys.stderr)


STEPS = {"opening": opening, "appending": appending, "planning": planning, "starting": starting}


def measure(sizes: dict[str, int], out: Path) -> dict[str, Cost]:
    given = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    this = [str(Path(__file__).resolve()), *given, "--out", str(out)]
    scripts = {name: [*this, "--step", name] for name in STEPS}
    scripts |= {name: [str(ROOT / "run_benchmark.py"), name, str(out)] for name in ("report", "verify")}
    found = {}
    for name, script in scripts.items():
        found[name] = cost_of(script, ROOT)
        wall, seconds, memory = found[name].wall, found[name].seconds, found[name].memory
        print(f"{name:<10}{wall:>9.1f} s {seconds:>9.1f} CPU s {memory:>7.0f} MiB", flush=True)
    return found


def quick_files() -> None:
    """Files of this script need not survive a power cut."""
    store_module.write_atomically = lambda path, data: (  # type: ignore[assignment]
        path.parent.mkdir(parents=True, exist_ok=True),
        path.write_bytes(data.encode() if isinstance(data, str) else data),
    )


def main(options: argparse.Namespace) -> None:
    given = {name: value for name in SMALL if (value := getattr(options, name)) is not None}
    sizes = SMALL | given
    if options.step:
        STEPS[options.step](sizes, options.out)
        return
    quick_files()
    with tempfile.TemporaryDirectory() as folder:
        costs = []
        for doubling in range(1 if given else DOUBLINGS):
            out = options.out or Path(folder) / str(doubling)
            if not (out / "run.json").is_file():
                start = time.perf_counter()
                rows = make(sizes, out)
                print(f"{rows} rows made in {time.perf_counter() - start:.0f} s", flush=True)
            costs.append(measure(sizes, out))
            sizes = sizes | {"methods": 2 * sizes["methods"]}
    for smaller, larger in itertools.pairwise(costs):
        ratios = {name: larger[name].seconds / smaller[name].seconds for name in larger}
        print("ratios of CPU seconds: " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in SMALL:
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--out", type=Path, help="a folder for the run; one that is there is measured and not made")
    parser.add_argument("--step", choices=list(STEPS), help="do this alone, in this process")
    main(parser.parse_args())
