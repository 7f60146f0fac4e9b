"""What a page says of a network: how it was trained, its weights and their card, what it cost, and the command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.report.cards import is_of
from attrobust.benchmark.report.page.training import MEANING
from attrobust.benchmark.report.records import CLEAN, Network
from attrobust.benchmark.report.table import Line
from attrobust.benchmark.store.rows import PassCounts, ScoredRow
from attrobust.types import Named, Settings, percent

Facts = list[tuple[str, str]]
"""Terms and what stands behind each, as text."""


def network_facts(line: Line, network: Network, cards: Sequence[WeightCard], costs: Mapping[str, float]) -> Facts:
    """What is known of the network of a row beside its numbers.

    Args:
        line: of the table.
        network: on disk.
        cards: of any weights.
        costs: passes of an image in training, by sha256 of weights.
    """
    subject, origin = network.subject, line.origin
    facts = [("method", component(subject.method)), ("seed", "" if line.seed is None else str(line.seed))]
    facts += [("model", component(subject.model)), ("epochs", "" if origin.epochs is None else str(origin.epochs))]
    passes = costs.get(line.sha256)
    facts += [("training", "" if passes is None else f"{passes:,.0f} passes of each image: {MEANING}")]
    facts += [("recipe", origin.recipe), ("weights (sha256)", line.sha256), ("fingerprint of the row", line.key)]
    row = network.row("", "", CLEAN.label)
    mine = [card for card in cards if card.sha256 == line.sha256 and is_of(card, row)]
    if mine:
        facts += _card_facts(mine[0])
    facts += [("evaluation", _cost(network)), ("command", shlex.join(["run_benchmark.py", *network.argv]))]
    if subject.method:
        facts.append(("paper and loss", f"run_benchmark.py --list methods:{subject.method['name']}"))
    return [(term, text) for term, text in facts if text]


def component(named: Named | None) -> str:
    """A component with all its settings, e.g. ``topk (k=10%, steps=30)``; empty where there is none."""
    if not named:
        return ""
    settings = said(named.get("settings", {}))
    return f"{named['name']} ({settings})" if settings else named["name"]


def said(settings: Settings) -> str:
    """Settings as text."""
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _card_facts(card: WeightCard) -> Facts:
    facts = [
        ("card: chosen epoch", f"{card.epoch}, of {percent(card.val_accuracy)} accuracy on the validation split"),
        ("card: recipe", said(card.recipe)),
        ("card: trained on", component(card.dataset)),
        ("card: went on from", component(card.start)),
        ("card: licence", card.licence),
        ("card: training code", card.code),
        ("card: versions", said(card.versions)),
    ]
    if known := card.published:
        accuracy = f"{percent(known.test_accuracy)} accuracy on {known.test_images} test images"
        facts.append(("card: published", f"version {known.version}, {known.precision}, {accuracy}"))
    return facts


def _cost(network: Network) -> str:
    """Passes and seconds of all cells of a row; the metrics of a cell share its attack, which counts once."""
    passes: dict[tuple[str, str, str], int] = {}
    seconds: dict[tuple[str, str, str], float] = {}
    for row in network.rows:
        if isinstance(row, ScoredRow):
            key = row.metric.scope, component(row.cell.explainer), component(row.cell.attack)
            passes[key] = max(passes.get(key, 0), total(row.passes))
            seconds[key] = max(seconds.get(key, 0.0), row.seconds)
    return f"{sum(passes.values()):,} passes of one image in attacks, {sum(seconds.values()):,.1f} s in all"


def total(passes: PassCounts) -> int:
    """Passes of every kind together."""
    return passes.forward + passes.backward + passes.double_backward
