"""``check``: everything that is claimed of items of an axis, tried on somebody's class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from attrobust.benchmark.checkpoints.find import load
from attrobust.benchmark.contract import attacks, datasets, explainers, methods, metrics, models
from attrobust.benchmark.contract.bench import Bench
from attrobust.benchmark.contract.claims import AnyContract, Outcome
from attrobust.benchmark.contract.settings import alternatives, made, settings_claims, shortened, unread, watched
from attrobust.benchmark.contract.transformer import attentive
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.models.lenet import LeNet

T = TypeVar("T")
CONTRACTS: tuple[AnyContract, ...] = (
    methods.CONTRACT,
    explainers.CONTRACT,
    attacks.CONTRACT,
    metrics.CONTRACT,
    metrics.RETRAINING,
    datasets.CONTRACT,
    models.CONTRACT,
)
"""Of all kinds of items."""
IMAGES = 4
"""Number of digits that items are tried on."""


@dataclass(frozen=True)
class Report:
    """What came of the claims about one class.

    Attributes:
        name: of the class.
        kind: of item: ``method``, ``explainer``, ``attack``, ``metric``, ``dataset`` or ``model``.
        outcomes: of every claim, in order.
    """

    name: str
    kind: str
    outcomes: tuple[Outcome, ...]

    @property
    def undecided(self) -> tuple[Outcome, ...]:
        """The claims of which it cannot be said whether they hold."""
        return tuple(outcome for outcome in self.outcomes if outcome.undecided)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The claims that do not hold."""
        return tuple(outcome for outcome in self.outcomes if outcome.problem)

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.name}", *map(line, self.outcomes), summary(self)]
        return "\n".join(lines)


def line(outcome: Outcome) -> str:
    """A claim with what came of it, as it is printed."""
    if outcome.undecided:
        return f"  unknown {outcome.claim}: cannot be decided, because {outcome.undecided}"
    return f"  FAILED  {outcome.claim}: {outcome.problem}" if outcome.problem else f"  passed  {outcome.claim}"


def summary(report: Report) -> str:
    """How many claims hold."""
    total, unknown = len(report.outcomes), len(report.undecided)
    holding = f"{total - len(report.failed) - unknown} of {total} claims hold"
    return f"{report.kind} {report.name}: {holding}{f', {unknown} cannot be decided' if unknown else ''}"


def check(item: type[Any] | Any, *, data_root: Path | str | None = None) -> Report:
    """Try every claim of the contract of its axis on a class of yours, on real digits.

    Args:
        item: a class derived from ``Method``, ``Explainer``, ``Attack``, ``Similarity``, ``Quality``,
            ``RetrainingMetric``, ``Dataset`` or ``ModelFamily``; or an instance, with settings of your own.
        data_root: the folder that a dataset is read from.

    Returns:
        All claims, each of which holds or cannot be decided.

    Raises:
        AssertionError: claims do not hold; the message lists them, each with what is wrong and where.
        TypeError: it is no class of any axis.
    """
    root = Path(data_root) if data_root is not None else None
    cls = item if isinstance(item, type) else type(item)
    report = Report(cls.__name__, contract_of(cls).kind, tuple(outcomes(item, digits_bench(root))))
    if report.failed:
        raise AssertionError("\n".join([summary(report), *map(line, report.failed)]))
    return report


def outcomes(item: type[Any] | Any, bench: Bench) -> Iterator[Outcome]:
    """Every claim about a class or an instance, one after the other, as they are tried."""
    cls = item if isinstance(item, type) else type(item)
    contract = contract_of(cls)
    unusable = False
    for outcome in settings_claims(cls):
        unusable |= bool(outcome.problem)
        yield outcome
    if unusable:
        return
    if getattr(cls, "needs_attention", False):
        bench = attentive(bench)
    instance = affordable(made(item), bench)
    observed, read = watched(instance)
    said = set[str]()
    for outcome in contract.outcomes(observed, bench):
        yield replace(outcome, problem="as above") if outcome.problem in said else outcome
        said |= {outcome.problem} - {""}
    left = unread(instance, read)
    for other in alternatives(instance) if left else ():
        observed, read = watched(other)
        for _ in contract.outcomes(observed, bench, short=True):
            pass
        left = [name for name in left if name not in read]
    yield Outcome("Every setting is used", f"setting {left[0]} is never read; use it or remove it" if left else "")


def affordable(item: T, bench: Bench) -> T:
    """An item with few steps, samples or queries, where it works with so few."""
    contract = contract_of(type(item))
    cheaper = shortened(item, contract.few)
    # Few may be too few for it, in ways that only it knows.
    return item if cheaper == item or next(contract.outcomes(cheaper, bench)).problem else cheaper


def contract_of(cls: type[Any]) -> AnyContract:
    """The contract that a class has to fulfil; raises TypeError where it belongs to no axis."""
    for contract in CONTRACTS:
        if issubclass(cls, contract.base):
            return contract
    bases = ", ".join(contract.base.__name__ for contract in CONTRACTS)
    raise TypeError(f"{cls.__name__} is derived from none of {bases}")


def digits_bench(data_root: Path | None = None) -> Bench:
    """Real digits with networks that know them."""
    return Bench(
        data=Digits().load(None),
        family=LeNet(width=8, hidden=32),
        network=load("digits/natural"),
        smooth=load("digits/aga"),
        count=IMAGES,
        data_root=data_root,
    )
