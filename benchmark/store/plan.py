"""The contents of ``run.json``: what was asked for last, and where every stored row stands in the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import ClassVar, Literal

import msgspec

from attrobust.benchmark.store.choice import Choice
from attrobust.benchmark.store.explainer_choice import ExplainerChoice
from attrobust.benchmark.store.rows import ACCURACY, MetricFacts, Record, Signed, Training
from attrobust.benchmark.store.schema import SCOPES, How
from attrobust.naming.spec import fingerprint
from attrobust.types import Named, Settings

BASELINES = {"constant-map": "constant", "random-map": "random", "untrained": ""}
"""Sanity-check baselines by name, with the explainer in place of every column's; empty where the network is the
baseline and not its maps."""


class Comparison(Record, frozen=True, kw_only=True):
    """What all rows of a table share; runs that differ in any of it do not compare.

    Attributes:
        protocol: name and version, with the fields that a command line changed.
        dataset, model: as typed; the model is that of networks trained here, empty where there are none.
        images: how many are attacked.
        data_sha256: of these images.
        threat: norm and radius.
        keep_prediction: whether an attack must keep the prediction.
        label: which class is explained, ``predicted`` or ``true``.
        reduction: channels to map.
        seed: of the evaluation.
        explainers, attacks: with all their settings.
        accuracy_attack: on the prediction, under which accuracy is measured too; null where there is none.
        code: digest of the sources that compute the scores, and versions of the libraries.
    """

    protocol: str
    dataset: str
    model: str
    images: int
    data_sha256: str
    threat: str
    keep_prediction: bool
    label: str
    reduction: str
    seed: int
    explainers: tuple[Named, ...]
    attacks: tuple[Named, ...]
    accuracy_attack: Named | None
    code: str


class AttackFacts(Record, frozen=True, kw_only=True):
    """What tables have to know of an attack.

    Attributes:
        label: as typed.
        name: registered.
        follows_gradient: whether the gradients it follows are the attacked network's own.
    """

    label: str
    name: str
    follows_gradient: bool


class AccuracyAttack(Record, frozen=True, kw_only=True):
    """The column of accuracy under an attack.

    Attributes:
        label: of the attack, as typed.
        metric: accuracy, described like a metric.
    """

    label: str
    metric: MetricFacts


class SubjectEntry(Record, frozen=True, kw_only=True):
    """A row of the table: a network, whose explanations are attacked.

    Attributes:
        label: as the table prints it.
        seed: of training; null for a user's checkpoint.
        sha256: of the weights; empty where training failed.
        baseline: whether it is a sanity check: a row that no table should be led by, neither ranked nor flagged.
        training: fingerprint of all that decides the weights beside the seed; empty where nothing was trained here.
        trained: all of it but method, model and images; null where nothing was trained here.
        checkpoint: where a user's weights are from, as typed; empty for others.
        architecture: the model as typed.
        method, model, plugins: see ``NetworkFacts``.
    """

    label: str
    seed: int | None
    sha256: str
    baseline: bool
    training: str
    trained: Training | None
    checkpoint: str
    architecture: str
    method: Named | None
    model: Named
    plugins: tuple[str, ...]

    @property
    def is_untrained(self) -> bool:
        """Whether it is the baseline with initial weights."""
        return self.baseline and self.label == "untrained"

    @property
    def kind(self) -> str:
        """Fingerprint of everything that makes it the network it is beside seed and weights.

        Tables print it where it tells rows apart, so it is made of the words of schema 2 whatever the schema.
        """
        return fingerprint(self._facts())

    @property
    def key(self) -> str:
        """Fingerprint of all of it, as ``kind`` is made."""
        return fingerprint({**self._facts(), "seed": self.seed, "sha256": self.sha256})

    def _facts(self) -> Settings:
        facts = {name: getattr(self, name) for name in ("label", "training", "method", "model", "plugins")}
        # The key is that of schema 2, so that fingerprints in tables stay what they were.
        return {**facts, "control": self.baseline}


Address = tuple[int, str, str, str]
"""Of an entry: subject, explainer, attack and metric."""


class Entry(Record, frozen=True, kw_only=True):
    """Where a stored row stands in the table.

    Attributes:
        subject: position of the network among the plan's subjects.
        explainer, attack, metric: labels; empty where there is none.
        row: fingerprint of the row.
    """

    subject: int
    explainer: str
    attack: str
    metric: str
    row: str

    @property
    def address(self) -> Address:
        """Where in the table."""
        return self.subject, self.explainer, self.attack, self.metric


class ShardFacts(Record, frozen=True, kw_only=True):
    """Which share of a run was computed for itself.

    Attributes:
        number: which, from 1.
        starts: for every share, the position of its first entry among all entries of the table.
        asked: fingerprint of what was asked for, the same for all shares.
    """

    number: int
    starts: tuple[int, ...]
    asked: str

    @property
    def name(self) -> str:
        """As typed, e.g. ``2/3``."""
        return f"{self.number}/{len(self.starts)}"

    def of(self, addresses: Sequence[Address], number: int) -> Sequence[Address]:
        """Those places of the table that are a share's."""
        return addresses[self.starts[number - 1] : [*self.starts, len(addresses)][number]]


class Plan(Signed, frozen=True, kw_only=True):
    """Everything that tables are made from, beside the rows.

    Attributes:
        schema: version of the form of the plan.
        comparison: what all rows share.
        explainers: labels of the columns.
        attacks, metrics: of the columns.
        accuracy_attack: of the column of accuracy under attack; null where there is none.
        subjects: the rows of the table.
        entries: where every stored row stands in it.
        interval: how intervals over images are computed.
        argv: as typed.
        choices: how members of sweeps were chosen on the validation split.
        checkpoints: what was found of a user's checkpoints, by label.
        shard: the share that the entries are; null where they are all of the table. All rows of the table are listed,
            with the hashes of the weights that the share met.
        passes: of networks that were trained here, by label, how often each image goes through them in training;
            those of which it is not known are left out. Null in plans of older versions.
        explainer_choices: how settings of explainers were chosen on the validation split; null where none were.

    The interval is not signed, since it may be chosen later.
    """

    UNSIGNED: ClassVar[tuple[str, ...]] = ("digest", "interval")
    ADDED: ClassVar[tuple[str, ...]] = ("shard", "passes", "explainer_choices")

    schema: Literal[4]
    comparison: Comparison
    explainers: tuple[str, ...]
    attacks: tuple[AttackFacts, ...]
    metrics: tuple[MetricFacts, ...]
    accuracy_attack: AccuracyAttack | None = None
    subjects: tuple[SubjectEntry, ...]
    entries: tuple[Entry, ...]
    interval: How
    argv: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    checkpoints: dict[str, Settings] = msgspec.field(default_factory=dict)
    shard: ShardFacts | None = None
    passes: dict[str, float] | None = None
    explainer_choices: tuple[ExplainerChoice, ...] | None = None

    @property
    def addresses(self) -> list[Address]:
        """Every place of the table, whoever's, in the order in which runs write them."""
        return [place for subject in range(len(self.subjects)) for place in self._addresses_of(subject)]

    @property
    def own_addresses(self) -> Sequence[Address]:
        """Those that the entries stand at."""
        return self.shard.of(self.addresses, self.shard.number) if self.shard else self.addresses

    def _addresses_of(self, subject: int) -> Iterator[Address]:
        yield subject, "", "", ACCURACY.label
        if robust := self.accuracy_attack:
            yield subject, "", robust.label, robust.metric.label
        for scope in SCOPES:
            metrics = [metric.label for metric in self.metrics if metric.scope == scope]
            explainers = ("",) if scope == "network" else self.explainers
            attacks = [attack.label for attack in self.attacks] if scope == "attack" else [""]
            yield from ((subject, *place) for place in product(explainers, attacks, metrics))
