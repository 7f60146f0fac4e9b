"""What a run records of what was asked for: the facts its rows share, the columns, and where every row stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrobust.attacks.base import Attack
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.cells import accuracy_facts, metric_facts
from attrobust.benchmark.run.completed import Completed
from attrobust.benchmark.store.choice import Choice
from attrobust.benchmark.store.plan import AccuracyAttack, AttackFacts, Comparison, Plan, SubjectEntry
from attrobust.benchmark.store.provenance import EVALUATION, code_digest
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.naming.component import Component
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
    completed: Sequence[Completed],
    choices: Iterable[Choice],
    argv: Iterable[str],
) -> Plan:
    """The contents of ``run.json``.

    Args:
        request: of the run.
        comparison: what its rows share.
        images: that its networks take.
        completed: the rows of the table, in order.
        choices: how members of sweeps were chosen.
        argv: as typed.
    """
    attack = request.accuracy_attack
    return Plan(
        schema=SCHEMA,
        comparison=comparison,
        explainers=tuple(item.label for item in request.explainers),
        attacks=tuple(_attack_facts(item) for item in request.attacks),
        metrics=tuple(metric_facts(item) for item in request.metrics),
        accuracy_attack=AccuracyAttack(label=attack.label, metric=accuracy_facts(attack)) if attack else None,
        subjects=tuple(_subject_entry(done, images) for done in completed),
        entries=tuple(entry for done in completed for entry in done.entries),
        interval=request.interval,
        argv=tuple(argv),
        choices=tuple(choices),
        checkpoints={label: facts for done in completed for label, facts in done.findings.items()},
    ).signed()


def _subject_entry(done: Completed, images: ImageFacts) -> SubjectEntry:
    subject, facts = done.subject, done.subject.facts(images)
    return SubjectEntry(
        label=subject.label,
        seed=subject.seed,
        sha256=done.sha256,
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
