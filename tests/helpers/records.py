"""Rows and plans of made-up runs, with something in every place."""

from __future__ import annotations

from typing import Any

from attrobust.benchmark.store.plan import AttackFacts, Comparison, Plan, SubjectEntry
from attrobust.benchmark.store.rows import FailedRow, MetricFacts, PassCounts, Provenance, ScoredRow
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.types import Cell, ImageFacts, Named, NetworkFacts

MODEL = Named(name="lenet", settings={})
IMAGES = ImageFacts(channels=1, size=28, classes=10, mean=(0.3,), std=(0.3,))
CELL = Cell(
    subject=NetworkFacts(method=None, model=MODEL, plugins=("",), images=IMAGES),
    checkpoint_sha256="ab" * 32,
    dataset=Named(name="digits", settings={}),
    data_sha256="d",
    images=3,
    explainer=Named(),
    attack=Named(),
    label="",
    reduction="",
    seed=0,
    protocol="quick v1",
    code="c",
)
PROVENANCE = Provenance(versions={}, device="cpu", threads=1, machine="", utc="", batch_size=1)
GINI = MetricFacts(
    name="gini",
    settings={},
    plugin="",
    label="gini",
    title="Gini index",
    higher_is_better=True,
    scale=1.0,
    decimals=3,
    unit=False,
    scope="map",
)
COMPARISON = Comparison(
    protocol="quick v1",
    dataset="digits",
    model="lenet",
    images=3,
    data_sha256="d",
    threat="linf 16/255",
    keep_prediction=True,
    label="predicted",
    reduction="abs-sum",
    seed=0,
    explainers=(),
    attacks=(),
    accuracy_attack=None,
    code="c",
)


def scored(key: str, **changes: Any) -> ScoredRow:
    """A row that was computed."""
    values: dict[str, Any] = {"mean": 0.5, "ci": (0.4, 0.6), "n": 3, "n_defined": 3, "n_feasible": 3}
    values |= {"passes": PassCounts(forward=0, backward=0, double_backward=0), "seconds": 0.1, "scores_sha256": ""}
    return ScoredRow(**{**_shared(key), "error": "", **values, **changes})


def failed(key: str, **changes: Any) -> FailedRow:
    """A row that could not be computed."""
    return FailedRow(**{**_shared(key), "error": "out of luck", **changes})


def _shared(key: str) -> dict[str, Any]:
    shared = {"fingerprint": key, "cell": CELL, "split": "test", "metric": GINI, "provenance": PROVENANCE}
    return {"schema": SCHEMA, **shared}


def subject(label: str, **changes: Any) -> SubjectEntry:
    """A network in a plan."""
    values: dict[str, Any] = {"seed": 0, "sha256": "ab" * 32, "baseline": False, "training": ""}
    values |= {"trained": None, "checkpoint": "", "architecture": "lenet"}
    values |= {"method": None, "model": MODEL, "plugins": ("",)}
    return SubjectEntry(label=label, **{**values, **changes})


def attack(label: str, name: str = "") -> AttackFacts:
    """An attack in a plan."""
    return AttackFacts(label=label, name=name or label, follows_gradient=False)


def plan(**changes: Any) -> Plan:
    """A plan without rows."""
    values: dict[str, Any] = {"schema": SCHEMA, "comparison": COMPARISON, "interval": "percentile"}
    values |= dict.fromkeys(("explainers", "attacks", "metrics", "subjects", "entries", "argv"), ())
    return Plan(**{**values, **changes})
