"""Runs on disk for tables of any size, from made-up scores; nothing is trained or attacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from attrobust.benchmark.statistics import estimate
from attrobust.benchmark.store.plan import AccuracyAttack, Entry
from attrobust.benchmark.store.rows import ACCURACY, PassCounts, Row
from attrobust.benchmark.store.store import Store
from attrobust.types import Flag

from helpers import records
from helpers.records import GINI

METRICS = [
    replace(GINI, label="topk", title="top-10% (%)", name="topk", scale=100.0, decimals=1, unit=True, scope="attack"),
    replace(GINI, label="l2", title="l2", name="l2", higher_is_better=False, scope="attack"),
]


def write_table(
    folder: Path,
    methods: list[str],
    *,
    explainers: tuple[str, ...] = ("saliency", "ig"),
    attacks: tuple[str, ...] = ("noise", "topk"),
    images: int = 40,
    baselines: tuple[str, ...] = (),
    threat: str = "linf 16/255",
    reason: str = "noise does more",
    failed: str = "",
    accuracy_attack: str = "",
) -> Store:
    """Write a run in which each method is worse than the one before it, and each attack stronger.

    Args:
        folder: of the run.
        methods: labels of the rows; the same label again is another training seed.
        explainers, attacks: of the columns.
        images: how many.
        baselines: labels of the rows behind them.
        threat: in words.
        reason: of the flag that all numbers of the last method have; empty for none.
        failed: label of a row whose attacks failed.
        accuracy_attack: under which accuracy is measured too; empty for no such column.
    """
    store = Store(folder)
    rows: list[Row] = []
    entries: list[Entry] = []
    robust = replace(ACCURACY, name="robust-accuracy", label="robust-accuracy", title=f"under {accuracy_attack} (%)")
    places = [("", "", ACCURACY), *([("", accuracy_attack, robust)] if accuracy_attack else [])]
    places += [(e, a, m) for e in explainers for a in attacks for m in METRICS]
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.4, images)
    labels = [*methods, *baselines]
    for subject, label in enumerate(labels):
        for explainer, attack, metric in places:
            key = f"{subject:03d}{explainer}-{attack}-{metric.name}".replace("/", "")
            if attack and label == failed:
                rows.append(records.failed(key, metric=metric))
                entries.append(Entry(subject=subject, explainer=explainer, attack=attack, metric=metric.label, row=key))
                continue
            worse = 0.3 * subject / len(labels) + (
                0.1 * attacks.index(attack) / len(attacks) if explainer and attack else 0
            )
            values = base + 0.5 - worse if metric.higher_is_better else base + worse
            if not explainer:
                values = (np.arange(images) % 50 != subject % 50).astype(float)
            found = estimate(values, unit=metric.unit)
            sha256 = store.save_scores(key, values, np.ones(images, dtype=bool))
            flagged = reason and explainer and label == methods[-1]
            row = records.scored(
                key,
                metric=metric,
                scores_sha256=sha256,
                mean=found.mean,
                ci=(found.low, found.high),
                n=images,
                n_defined=images,
                n_feasible=images,
                passes=PassCounts(forward=images * 30, backward=images * 30, double_backward=images * 30),
                flags=(Flag(name="masked", reason=reason),) if flagged else None,
            )
            rows.append(row)
            entries.append(Entry(subject=subject, explainer=explainer, attack=attack, metric=metric.label, row=key))
    store.append(rows)
    subjects = [
        records.subject(label, seed=labels[:i].count(label), baseline=label in baselines, sha256=f"{i:064x}")
        for i, label in enumerate(labels)
    ]
    store.write_plan(
        records.plan(
            comparison=replace(records.COMPARISON, images=images, threat=threat),
            explainers=explainers,
            attacks=tuple(records.attack(label) for label in attacks),
            metrics=tuple(METRICS),
            accuracy_attack=AccuracyAttack(label=accuracy_attack, metric=robust) if accuracy_attack else None,
            subjects=tuple(subjects),
            entries=tuple(entries),
            argv=("--methods", ",".join(methods)),
        )
    )
    return store
