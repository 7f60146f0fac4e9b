"""Whether contested rows are what they say: never better than the row before, and equal to it where nobody improved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from attrobust.benchmark.store.contests import before, contested, read_images
from attrobust.benchmark.store.rows import Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError


def contest_problems(store: Store, rows: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
    """Fingerprint and a line of words of every contested row that scores, images or the row before do not bear out."""
    for row in contested(rows):
        where = f"row {row.fingerprint[:12]} ({row.metric.label}), contested by {row.contests[-1].by}"
        earlier = before(row, rows)
        if not isinstance(earlier, ScoredRow):
            yield row.fingerprint, f"{where}: the row that it contests is missing"
            continue
        try:
            yield from ((row.fingerprint, f"{where}: {problem}") for problem in _problems(store, row, earlier))
        except UsageError as error:
            yield row.fingerprint, f"{where}: {error}"


def _problems(store: Store, row: ScoredRow, earlier: ScoredRow) -> Iterator[str]:
    new, old = store.load(row), store.load(earlier)
    contest = row.contests[-1]
    ids = read_images(store.folder, contest.images_sha256).ids
    if len(new.scores) != len(old.scores):
        yield "it is of another number of images than the row before"
        return
    own = new.worst == len(new.members) - 1
    if new.members[-1:] != [contest.by] or new.members[:-1] != old.members:
        yield "its members are not those of the row before and the finder"
    sign = 1.0 if row.metric.higher_is_better else -1.0
    changed = ~((new.scores == old.scores) | (np.isnan(new.scores) & np.isnan(old.scores)))
    better = sign * (new.scores - old.scores) > 0
    if (changed & ~own).any() or (better & own).any():
        yield "its scores are not the worst of the row before and of the finder's images"
    if int(own.sum()) != contest.improved or not np.isin(np.flatnonzero(own), ids).all():
        yield "the images that it improved on are not those that it says"
