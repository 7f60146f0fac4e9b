"""Runs that were computed in shares by themselves, put together again: all of a table, or what is missing of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from attrobust.benchmark.store.choice import Choice
from attrobust.benchmark.store.explainer_choice import ExplainerChoice
from attrobust.benchmark.store.plan import Address, Comparison, Entry, Plan, ShardFacts, SubjectEntry
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError

UNREADABLE = ("accuracy_attack", "attacks", "code", "data_sha256", "explainers")
"""Facts of a comparison that are too long to quote."""


class IncompleteError(UsageError):
    """Some shards of a run, or runs of a sweep, are missing or not finished; says which, and what of the table."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A run on disk, whatever the number of folders it lies in.

    Attributes:
        plan: of all of it.
        parts: every folder with the entries whose rows are in it.
    """

    plan: Plan
    parts: tuple[tuple[Store, tuple[Entry, ...]], ...]


def wholes(stores: Sequence[Store]) -> list[Whole]:
    """The runs that folders hold, in the order of their first folders; shards of one run are put together.

    Raises:
        UsageError: a folder holds no run, shards do not belong together, or one is there twice.
        IncompleteError: shards are missing, or runs are not finished.
    """
    finished = [store for store in stores if store.is_finished]
    unfinished = [store for store in stores if not store.is_finished]
    plans = [(store, store.plan()) for store in finished]
    sharded = any(plan.shard for _, plan in plans)
    for store in unfinished:
        if not (store.is_begun or (sharded and store.is_expected)):
            store.plan()
    for store, plan in plans[1:]:
        check_comparable(store, plan, *plans[0])
    groups: dict[str, list[tuple[Store, Plan]]] = {}
    for store, plan in plans:
        key = plan.shard.asked if plan.shard else str(store.folder)
        groups.setdefault(key, []).append((store, plan))
    missing = [text for group in groups.values() for text in _missing(group)]
    missing += [f"{store.folder} is not finished" for store in unfinished]
    if missing:
        raise IncompleteError(f"{'; '.join(missing)}; there is no table until all of it is there")
    return [_together(group) for group in groups.values()]


def check_comparable(store: Store, plan: Plan, other: Store, others: Plan) -> None:
    """Raise UsageError where a number of a run would not mean what it means in another."""
    for key in sorted(Comparison.__struct_fields__):
        mine, theirs = getattr(plan.comparison, key), getattr(others.comparison, key)
        # Where nothing was trained, no model is shared.
        if mine == theirs or (key == "model" and not (mine and theirs)):
            continue
        values = f": {mine} against {theirs}" if key not in UNREADABLE else ""
        raise UsageError(f"{store.folder} does not compare with {other.folder}: other {key}{values}")
    for key in ("explainers", "attacks", "metrics"):
        if getattr(plan, key) != getattr(others, key):
            raise UsageError(f"{store.folder} has other {key} than {other.folder}")


def _missing(group: Sequence[tuple[Store, Plan]]) -> Iterable[str]:
    """What is missing of a run, shard by shard, in words; checks that what is there belongs together."""
    (store, plan), *rest = group
    if plan.shard is None:
        return
    there = {plan.shard.number: store}
    for other, others in rest:
        _check_one_run(store, plan, other, others)
        number = others.shard.number if others.shard else 0
        if number in there:
            raise UsageError(f"{there[number].folder} and {other.folder} hold the same shard; leave one of them out")
        there[number] = other
    places = plan.addresses
    for number in range(1, len(plan.shard.starts) + 1):
        if number not in there and (lost := plan.shard.of(places, number)):
            yield _words(plan, plan.shard, number, lost, len(places))


def _words(plan: Plan, shard: ShardFacts, number: int, lost: Sequence[Address], count: int) -> str:
    first = shard.starts[number - 1]
    which = f"numbers {first + 1} to {first + len(lost)} of {count}"
    between = f"from {_named(plan, lost[0])} to {_named(plan, lost[-1])}"
    return f"shard {replace(shard, number=number).name} is missing ({which}: {between})"


def _named(plan: Plan, place: Address) -> str:
    """A place in words, e.g. ``aga (seed 1) / saliency / topk / cosine``."""
    subject = plan.subjects[place[0]]
    several = len({item.seed for item in plan.subjects if item.seed is not None}) > 1
    seed = f" (seed {subject.seed})" if several and subject.seed is not None else ""
    return " / ".join([f"{subject.label}{seed}", *(part for part in place[1:] if part)])


def _check_one_run(store: Store, plan: Plan, other: Store, others: Plan) -> None:
    """Raise UsageError where two shards that were asked for alike did not come out alike."""
    pairs: list[tuple[Choice | ExplainerChoice, Choice | ExplainerChoice]] = [
        *zip(plan.choices, others.choices, strict=True),
        *zip(plan.explainer_choices or (), others.explainer_choices or (), strict=True),
    ]
    for mine, theirs in pairs:
        if mine != theirs:
            raise UsageError(
                f"{store.folder} and {other.folder} do not have the same choice from {mine.sweep}: their machines "
                "compute other numbers; choose once, and give the shards what was chosen"
            )
    if [_apart(item) for item in plan.subjects] != [_apart(item) for item in others.subjects]:
        raise UsageError(f"{store.folder} and {other.folder} do not have the same rows; run both shards again")
    for ours, item in zip(plan.subjects, others.subjects, strict=True):
        if ours.sha256 and item.sha256 and ours.sha256 != item.sha256:
            raise UsageError(
                f"{store.folder} and {other.folder} have other weights of {ours.label}, which their machines train "
                f"differently; copy checkpoints/ of one into the folder of the other, and run that shard again"
            )
    if plan.shard and others.shard and plan.shard.starts != others.shard.starts:
        counts = " and ".join(item.name for item in (plan.shard, others.shard))
        raise UsageError(f"{store.folder} and {other.folder} divide the table differently ({counts})")


def _apart(subject: SubjectEntry) -> SubjectEntry:
    return replace(subject, sha256="")


def _together(group: Sequence[tuple[Store, Plan]]) -> Whole:
    """All shards of a run as one."""
    ordered = sorted(group, key=lambda pair: pair[1].shard.number if pair[1].shard else 0)
    plans = [plan for _, plan in ordered]
    known = zip(*(plan.subjects for plan in plans), strict=True)
    plan = replace(
        plans[0],
        subjects=tuple(max(same, key=lambda item: bool(item.sha256)) for same in known),
        entries=tuple(entry for plan in plans for entry in plan.entries),
        checkpoints={label: facts for plan in plans for label, facts in plan.checkpoints.items()},
        passes={label: cost for plan in plans for label, cost in (plan.passes or {}).items()} or None,
    )
    return Whole(plan=plan, parts=tuple((store, plan.entries) for store, plan in ordered))
