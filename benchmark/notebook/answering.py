"""A network is asked: explained, attacked and scored, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.contract.models import require_logits
from attrobust.benchmark.evaluation.evaluate import evaluate, judge, scored_copy
from attrobust.benchmark.evaluation.garbage import Garbage
from attrobust.benchmark.evaluation.scores import Scores
from attrobust.benchmark.evaluation.scores import joined as joined_scores
from attrobust.benchmark.evaluation.watching import Sight, Watch
from attrobust.benchmark.notebook.bar import bar
from attrobust.benchmark.notebook.given import Given, predicted
from attrobust.benchmark.notebook.question import Question
from attrobust.benchmark.notebook.result import Evaluation, Maps, Scored
from attrobust.benchmark.notebook.worst import Pairs, Worst, joined
from attrobust.benchmark.run.blame import blamed_on
from attrobust.benchmark.run.cells import metric_facts
from attrobust.benchmark.run.derivative_check import check_curvature, check_maps
from attrobust.benchmark.run.grid import Grid
from attrobust.explainers.shared.chunks import Sampling, sampled
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import Metric
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.naming.component import Component
from attrobust.networks.copying import independent_copy
from attrobust.process import seeded
from attrobust.types import Scope, UsageError

LEFT_BY = Cosine()
"""By which the worst result of an attack is found where no similarity is asked for."""


def answer(question: Question, found: Given, name: str) -> Evaluation:
    """What is asked of a network.

    Args:
        question: the same for all networks that are compared.
        found: the network and its images.
        name: of the network.

    Raises:
        UsageError: explainer, attack or metric do not suit network or images.
    """
    check(question, found)
    rules = question.rules
    flags = probe(found.network, question.explainer.item, found.images, rules) if question.audit else []
    starts = range(0, len(found.images), rules.batch_size)
    seen, garbage = list[Batch](), Garbage()
    label = f"{name}: {question.explainer.label} under {question.attack.label}"
    for start in bar(starts, label, shown=question.progress):
        with seeded(derive_seed("job", rules.seed)):
            seen.append(_batch(question, found, range(start, min(start + rules.batch_size, len(found.images)))))
        garbage.left_by(found.network)
    scores = {scope: joined_scores([batch.scores[scope] for batch in seen]) for scope in seen[0].scores}
    pairs, in_order = joined([batch.pairs for batch in seen]), _in_order(question, scores)
    failures = dict.fromkeys(line for batch in seen for line in batch.failures)
    return Evaluation(
        name=name,
        explainer=question.explainer.label,
        attack=question.attack.label,
        threat=rules.threat,
        reduction=rules.reduction,
        x=pairs.clean.to(found.images.x),
        y=found.images.y if found.labelled else None,
        explained=pairs.target,
        prediction=found.prediction,
        attacked=pairs.attacked.to(found.images.x),
        attacked_prediction=predicted(found.network, pairs.attacked.to(found.images.x), rules.batch_size),
        maps=Maps(clean=pairs.clean_maps, attacked=pairs.attacked_maps),
        scores=in_order,
        feasible=scores["attack"].feasible,
        passes=scores["attack"].passes,
        flags=tuple(flags),
        notes=(*found.notes, *failures, *(() if failures else undefined(in_order))),
    )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What came of a batch of images.

    Attributes:
        scores: by the scope of the metrics, in the order asked.
        pairs: the images with the worst result of the attack.
        failures: of metrics that raised, in words.
    """

    scores: dict[Scope, Scores]
    pairs: Pairs
    failures: tuple[str, ...]


def _batch(question: Question, found: Given, rows: range) -> Batch:
    explainer, rules = question.explainer.item, question.rules
    similarities = question.of("attack")
    first = similarities[0] if similarities else LEFT_BY
    worst = Worst(rules.reduction, higher_is_better=type(first).higher_is_better)

    def take(sight: Sight) -> None:
        worst.take(sight)

    # Metrics are copied, and a bound method would be copied with its object.
    watch = Watch(metrics=(first,), seed=rules.seed, take=take)
    attacked = evaluate(
        found.network,
        explainer,
        question.attack.item,
        [*similarities, watch],
        found.images,
        rules,
        source_model=question.source_model,
        rows=rows,
    )
    if len(similarities) in attacked.failures:
        raise UsageError(attacked.failures[len(similarities)].error)
    scores: dict[Scope, Scores] = {"attack": attacked}
    if of_maps := question.of("map"):
        scores["map"] = judge(found.network, explainer, of_maps, found.images, rules, rows=rows)
    if of_networks := question.of("network"):
        scores["network"] = judge(found.network, None, of_networks, found.images, rules, rows=rows)
    failures = (failure.error for part in scores.values() for failure in part.failures.values())
    return Batch(scores=scores, pairs=worst.pairs, failures=tuple(failures))


def _in_order(question: Question, scores: Mapping[Scope, Scores]) -> tuple[Scored, ...]:
    """The scores of every metric, in the order asked."""
    found = []
    for metric in question.metrics:
        scope = type(metric.item).scope
        place = question.of(scope).index(metric.item)
        part = scores[scope]
        names = [part.members[index] if index >= 0 else "" for index in part.worst[place].tolist()]
        by = tuple(names) if len(part.members) > 1 else ()
        found.append(Scored(facts=metric_facts(metric), values=part.values[place].numpy(), by=by))
    return tuple(found)


def undefined(scores: Iterable[Scored]) -> Iterator[str]:
    """A line for every metric that has no value for some images."""
    for score in scores:
        missing = int(np.isnan(score.values).sum())
        if missing:
            name, count = score.facts.name, len(score.values)
            yield (
                f"{score.facts.label} is undefined for {missing} of {count} images; "
                f"run_benchmark.py --list metrics:{name} says when it is"
            )


def check(question: Question, found: Given) -> None:
    """Raise UsageError where explainer, attack or metrics do not suit the images or the network."""
    images, explainer, attack = found.images, question.explainer, question.attack
    height, width = images.x.shape[-2:]
    image, on_cpu = images.x[:1].double(), scored_copy(found.network).cpu()
    with blamed_on(attack.label):
        attack.item.check_size(height, width)
        attack.item.check_threat(question.rules.threat)
        if attack.item.source_model and question.source_model is None:
            raise ValueError("it is transferred from another network; give that as source_model")
    if attack.item.source_model and question.source_model is not None:
        with blamed_on("source_model"):
            source_model = independent_copy(question.source_model).to(image).eval()
            require_logits(source_model, image, found.classes)
    for metric in question.metrics:
        with blamed_on(metric.label):
            metric.item.check_size(height, width)
            if type(metric.item).needs_masks and images.masks is None:
                raise ValueError("it needs object masks; give them as masks, bool B×H×W")
            metric.item.check_network(on_cpu, image)
    grid = Grid(
        split="test",
        images=len(images),
        data_sha256="",
        explainers=[explainer],
        attacks=[attack],
        metrics=[Component[Metric](metric.name, metric.item, metric.label) for metric in question.metrics],
        accuracy_attack=None,
    )
    # Two copies of the image show what all of them would, of explainers that take thousands.
    with blamed_on(explainer.label), sampled(Sampling()):
        explainer.item(on_cpu, image, torch.zeros(1, dtype=torch.int64))
        check_maps(on_cpu, explainer, grid, image)
        check_curvature(on_cpu, grid, image)
