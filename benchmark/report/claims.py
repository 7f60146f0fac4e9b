"""Whether the plan of a run, which tables are made from, says what the rows say that it names."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrobust.benchmark.report.cards import Cards, agrees
from attrobust.benchmark.report.labels import fits, fits_metric
from attrobust.benchmark.store.plan import BASELINES, Entry, Plan, SubjectEntry
from attrobust.benchmark.store.rows import ACCURACY, Row, ScoredRow
from attrobust.threat import ThreatModel

PREFIX = "run.json does not say what the rows say"


def plan_problems(plan: Plan, rows: Mapping[str, Row], cards: Cards) -> list[str]:
    """One line for everything that the plan says and its rows do not."""
    found: set[str] = set()
    of_networks: dict[tuple[int, ...], dict[str, bool]] = {}
    for entry in plan.entries:
        if row := rows.get(entry.row):
            # What many rows say in the same words is one object in all of them.
            key = (entry.subject, id(row.cell), id(row.trained), id(row.wording))
            if key not in of_networks or entry.metric == ACCURACY.label:
                of_networks[key] = _of_network(plan, entry, row, cards)
            said = {**_of_all(plan, entry, row), **_of_column(plan, entry, row), **of_networks[key]}
            found |= {name for name, holds in said.items() if not holds}
    problems = [f"{PREFIX}: {name}" for name in sorted(found)]
    if [entry.address for entry in plan.entries] != list(plan.own_addresses):
        problems.append("run.json does not have its rows, each once and in the order of the table")
    if not plan.is_as_written:
        problems.append("run.json is not as the run wrote it; run the same command again")
    return problems


def _of_all(plan: Plan, entry: Entry, row: Row) -> dict[str, bool]:
    """By name, whether what all rows share holds for one."""
    facts, cell = plan.comparison, row.cell
    protocol = facts.protocol.partition(" (modified: ")[0]
    said = {
        "dataset": fits(facts.dataset, cell.dataset, row.wording.get("dataset", ())),
        "protocol": protocol == cell.protocol,
        "seed": facts.seed == cell.seed,
        "split": row.split == "test",
    }
    if cell.threat:
        kept = bool(entry.explainer) and facts.keep_prediction
        said["threat"] = facts.threat == str(ThreatModel(**cell.threat))
        said["keep_prediction"] = kept == cell.threat.get("keep_prediction")
    if cell.label:
        said["label"] = facts.label == cell.label
    if entry.explainer:
        said["reduction"] = facts.reduction == cell.reduction
    if entry.attack or row.metric.scope not in ("accuracy", "training"):
        said["images"] = facts.images == cell.images
        said["data_sha256"] = facts.data_sha256 == cell.data_sha256
    return said


def _of_column(plan: Plan, entry: Entry, row: Row) -> dict[str, bool]:
    """By name, whether explainer, attack and metric are those of the entry's column."""
    facts, cell, robust = plan.comparison, row.cell, plan.accuracy_attack
    said = {
        "explainers": len(facts.explainers) == len(plan.explainers),
        "attacks": len(facts.attacks) == len(plan.attacks),
        "accuracy_attack": (facts.accuracy_attack is None) == (robust is None),
    }
    if not entry.explainer:
        said["explainer"] = not cell.explainer
    elif plan.subjects[entry.subject].baseline and not plan.subjects[entry.subject].is_untrained:
        stand_in = plan.subjects[entry.subject].label.partition(" of ")[0]
        said["explainer"] = cell.explainer.get("name") == BASELINES.get(stand_in)
    else:
        columns = dict(zip(plan.explainers, facts.explainers, strict=False))
        said["explainer"] = fits(entry.explainer, cell.explainer, row.wording.get("explainer", ()))
        said["explainers"] &= columns.get(entry.explainer) == cell.explainer
    if not entry.attack:
        said["attack"] = not cell.attack
    else:
        said["attack"] = fits(entry.attack, cell.attack, row.wording.get("attack", ()))
    if entry.attack and entry.explainer:
        attacks = {attack.label: (attack, named) for attack, named in zip(plan.attacks, facts.attacks, strict=False)}
        attack, named = attacks.get(entry.attack, (None, None))
        said["attacks"] &= named == cell.attack and attack is not None and attack.name == cell.attack.get("name")
        if attack is not None and row.follows_gradient is not None:
            said["follows_gradient"] = attack.follows_gradient == row.follows_gradient
    if entry.attack and not entry.explainer:
        said["accuracy_attack"] &= facts.accuracy_attack == cell.attack
        said["metric"] = robust is not None and robust.metric == row.metric
    elif entry.metric == ACCURACY.label:
        said["metric"] = row.metric == ACCURACY
    else:
        column = next((metric for metric in plan.metrics if metric.label == entry.metric), None)
        said["metric"] = column is not None and fits_metric(column, row.metric, row.wording.get("metric", ()))
    return said


def _of_network(plan: Plan, entry: Entry, row: Row, cards: Cards) -> dict[str, bool]:
    """By name, whether the network is that of the entry's row of the table."""
    subject, network = plan.subjects[entry.subject], row.cell.subject
    said = {
        "weights": subject.sha256 == row.cell.checkpoint_sha256,
        "method": subject.method == network.method and _is_named(plan, subject, row),
        "model": subject.model == network.model,
        "plugins": subject.plugins == network.plugins,
        "architecture": fits(subject.architecture, network.model, row.wording.get("model", ())),
    }
    trained = subject.trained
    if trained is not None or subject.is_untrained:
        said["model"] &= plan.comparison.model == subject.architecture
    if plan.digest:
        is_user = network.method is None and not subject.is_untrained
        said["checkpoint"] = bool(subject.checkpoint) == is_user
        if is_user and not subject.baseline and entry.metric == ACCURACY.label and isinstance(row, ScoredRow):
            found = plan.checkpoints.get(subject.label, {}).get("accuracy")
            mean = math.nan if row.mean is None else row.mean
            said["checkpoints"] = isinstance(found, float) and math.isclose(found, mean, rel_tol=1e-12)
    if trained is not None and trained.dataset:
        said["training"] = subject.training == trained.key(subject.method, subject.model, network.images)
    elif plan.digest and subject.sha256:
        said["training"] = not subject.training
    said["seed of training"] = subject.seed == (trained.seed if trained else None)
    known = [card for card in cards.get(subject.sha256, ()) if trained is not None]
    # Equal weights may come of several trainings, of which the row names one.
    if row.wording or known:
        agreed = trained is not None and any(agrees(card, trained) for card in known)
        said["trained"] = agreed or (bool(row.wording) and trained == row.trained)
    return said


def _is_named(plan: Plan, subject: SubjectEntry, row: Row) -> bool:
    """Whether the label of a row of the table stands for its network."""
    method = row.cell.subject.method
    if subject.baseline:
        name, of, other = subject.label.partition(" of ")
        if not of:
            return subject.is_untrained and method is None
        twins = [item for item in plan.subjects if item.label == other and not item.baseline]
        same = any((item.sha256, item.seed) == (subject.sha256, subject.seed) for item in twins)
        return bool(BASELINES.get(name)) and same
    if method is None:
        return True
    if "sweep" in method.get("settings", {}):
        return method["settings"] == {"sweep": subject.label}
    return fits(subject.label, method, row.wording.get("method", ()))
