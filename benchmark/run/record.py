"""What a run records of what was asked for: the facts its rows share, the columns, and where every row stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrobust.attacks.base import Attack
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.request.training_cost import training_passes
from attrobust.benchmark.run.cells import accuracy_facts, metric_facts
from attrobust.benchmark.run.completed import Completed
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.choice import Choice
from attrobust.benchmark.store.explainer_choice import ExplainerChoice
from attrobust.benchmark.store.plan import AccuracyAttack, AttackFacts, Comparison, Plan, ShardFacts, SubjectEntry
from attrobust.benchmark.store.provenance import EVALUATION, code_digest
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.naming.component import Component
from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json
from attrobust.types import ImageFacts


def comparison_of(request: Request, data_sha256: str) -> Comparison:
    """What all rows of a run share.

    Args:
        request: of the run.
        data_sha256: of the attacked images.
    """
    protocol, attack = request.protocol, request.accuracy_attack
    plugins = [type(item.item) for item in request.explainers] + [type(item.item) for item in request.attacks]
    plugins += [type(attack.item)] if attack else []
    trains = request.methods or request.source_models or "untrained" in protocol.baselines
    return Comparison(
        protocol=protocol.title,
        dataset=request.dataset.label,
        model=request.model.label if trains else "",
        images=protocol.images,
        data_sha256=data_sha256,
        threat=str(protocol.threat),
        keep_prediction=protocol.keep_prediction,
        label=protocol.label,
        reduction=protocol.reduction,
        seed=protocol.evaluation_seed,
        explainers=tuple(item.canonical for item in request.explainers),
        attacks=tuple(item.canonical for item in request.attacks),
        accuracy_attack=attack.canonical if attack else None,
        code=code_digest(EVALUATION, plugins),
    )


def record_of(
    request: Request,
    comparison: Comparison,
    images: ImageFacts,
    rows: Sequence[tuple[Subject, str]],
    completed: Sequence[Completed],
    choices: Iterable[Choice],
    argv: Iterable[str],
    *,
    shard: ShardFacts | None,
    explainer_choices: Sequence[ExplainerChoice] | None,
) -> Plan:
    """The contents of ``run.json``.

    Args:
        request: of the run.
        comparison: what its rows share.
        images: that its networks take.
        rows: of the table, in order, each with the hash of its weights.
        completed: those that were computed, with their cells.
        choices: how members of sweeps were chosen.
        argv: as typed.
        shard: which share of the table was computed; None for all of it.
        explainer_choices: how settings of explainers were chosen.
    """
    attack = request.accuracy_attack
    return Plan(
        schema=SCHEMA,
        comparison=comparison,
        explainers=tuple(item.label for item in request.explainers),
        attacks=tuple(_attack_facts(item) for item in request.attacks),
        metrics=tuple(metric_facts(item) for item in request.metrics),
        accuracy_attack=AccuracyAttack(label=attack.label, metric=accuracy_facts(attack)) if attack else None,
        subjects=tuple(_subject_entry(subject, sha256, images) for subject, sha256 in rows),
        entries=tuple(entry for done in completed for entry in done.entries),
        interval=request.interval,
        argv=tuple(argv),
        choices=tuple(choices),
        explainer_choices=tuple(explainer_choices) if explainer_choices else None,
        checkpoints={label: facts for done in completed for label, facts in done.findings.items()},
        shard=shard,
        passes=_passes([subject for subject, _ in rows], images),
    ).signed()


def _passes(subjects: Iterable[Subject], images: ImageFacts) -> dict[str, float]:
    """By label what trainings cost, as far as that is known; once for all seeds of a method."""
    found: dict[str, float] = {}
    for subject in subjects:
        method, trained = subject.facts(images).method, subject.trained
        if not subject.baseline and method is not None and trained is not None:
            cost = training_passes(method, trained, images.classes)
            found |= {} if cost is None else {subject.label: cost}
    return found


def asked_for(request: Request, comparison: Comparison, images: ImageFacts, rows: Iterable[Subject]) -> str:
    """Fingerprint of what the table is to show, known before anything is computed.

    Args:
        request: of the run.
        comparison: what its rows share.
        images: that its networks take.
        rows: of the table, members of sweeps that are still to be chosen from among them.
    """
    criterion, tuning = request.criterion, request.explainer_criterion
    chosen_by: list[object] = []
    if tuning:
        chosen_by = [tuning.metric.canonical, [sweep.text for sweep in tuning.sweeps]]
    if criterion:
        parts = (criterion.metric, criterion.attack, criterion.explainer)
        chosen_by = [*(part.canonical for part in parts), criterion.floor]
    columns = [[item.label for item in request.explainers], [item.label for item in request.attacks]]
    subjects = [as_json(_subject_entry(subject, "", images)) for subject in rows]
    metrics = [as_json(metric_facts(item)) for item in request.metrics]
    return fingerprint([as_json(comparison), columns, metrics, subjects, chosen_by])


def _subject_entry(subject: Subject, sha256: str, images: ImageFacts) -> SubjectEntry:
    facts = subject.facts(images)
    return SubjectEntry(
        label=subject.label,
        seed=subject.seed,
        sha256=sha256,
        baseline=subject.baseline,
        training=subject.training,
        trained=subject.trained,
        checkpoint=subject.checkpoint,
        architecture=subject.source.model.label,
        method=facts.method,
        model=facts.model,
        plugins=facts.plugins,
    )


def _attack_facts(attack: Component[Attack]) -> AttackFacts:
    return AttackFacts(label=attack.label, name=attack.name, follows_gradient=attack.item.follows_gradient)
