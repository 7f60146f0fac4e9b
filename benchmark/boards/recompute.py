"""A sample of a board's cells, computed again from weights by the present code and held to the stored scores.

How far scores may be apart, of one image or in the mean:

- Without an attack, and under ``noise``, whose images do not depend on rounding, every image must agree.
- A search of many steps follows rounding: two processors, or two versions of torch, end at other images of about the
  same harm. So the means over the sampled images must agree. Kernels of an older processor move single images of digits
  by up to .026 of the top tenth, and means of twelve by up to .001.
- A mean that is worse for the network by more than that says that the present code attacks better than the board did.
  The board then needs a new version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attrobust.arrays import Floats
from attrobust.attacks.base import Attack
from attrobust.benchmark.boards.given import Given
from attrobust.benchmark.boards.opened import Opener, attack_of, explainer_of, metric_of, rules_of
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.data.base import guessing
from attrobust.benchmark.evaluation.evaluate import accuracy_under_attack, evaluate, judge
from attrobust.benchmark.evaluation.scores import Scores, joined, unattacked
from attrobust.benchmark.store.contests import before, read_images
from attrobust.benchmark.store.rows import ACCURACY, Row, ScoredRow
from attrobust.benchmark.training.loop import correct
from attrobust.maps.seeds import derive_seed
from attrobust.naming.safe import reason
from attrobust.networks.copying import independent_copy
from attrobust.process import seeded
from attrobust.types import UsageError

EXACT = ("noise",)
"""Attacks whose images do not depend on rounding."""
PER_IMAGE = 1e-4
"""For each image, absolute and relative to the stored score."""
HITS = 1000
"""Images of which one may be a hit, or none, where two classes are equally likely but for rounding."""
OF_MEAN = 0.02
"""For the mean over the sampled images, of a score between 0 and 1; for accuracy one image, where that is more."""
OF_SPREAD = 0.25
"""For that of any other score, in standard deviations of the stored scores over all images of the cell."""


@dataclass(frozen=True)
class Disagreement:
    """A number that did not come out again; prints as one line.

    Attributes:
        cell: of the number.
        metric: its label; empty where the whole cell could not be computed.
        what: how far apart the numbers are, or what went wrong.
    """

    cell: StoredCell
    metric: str
    what: str

    def __str__(self) -> str:
        return f"{self.cell}{f' / {self.metric}' if self.metric else ''}: {self.what}"


def recompute(cell: StoredCell, opener: Opener, images: int) -> list[Disagreement]:
    """Compute some images of a cell again; returns what does not agree.

    Args:
        cell: on disk.
        opener: of its board.
        images: how many at most, see ``StoredCell.chosen``.
    """
    rows = cell.chosen(images)
    try:
        scores = scores_of(cell, opener, rows)
        found = [_compared(cell, row, _chosen(cell, row, rows), scores, index) for index, row in enumerate(cell.rows)]
        found += [_facts_again(cell, row, opener) for row in cell.rows]
        found.append(_feasible_again(cell, rows, scores))
        contests = contests_again(cell, opener)
    except UsageError as error:
        return [Disagreement(cell, "", f"cannot be computed again: {error}")]
    except Exception as error:  # Whatever an item raises is said of its cell, and the others are still computed.
        return [Disagreement(cell, "", f"failed: {reason(error)}")]
    return [item for item in [*found, *contests] if item is not None]


def scores_of(cell: StoredCell, opener: Opener, rows: range, attack: Attack | None = None) -> Scores:
    """Scores of some images of a cell, for all its metrics.

    Args:
        cell: on disk.
        opener: of its board.
        rows: positions of the images.
        attack: in place of the cell's.

    Raises:
        UsageError: something that the cell was computed with is not there, or has changed.
    """
    row, facts = cell.rows[0], cell.rows[0].cell
    images, network = opener.images(row), opener.network(cell)
    rules = rules_of(facts, len(rows))
    if attack is None and facts.attack:
        attack = attack_of(facts)
    with seeded(derive_seed("job", facts.seed)):
        if row.metric.scope == "accuracy":
            if attack is not None:
                lent = opener.source_model(cell)
                return accuracy_under_attack(network, attack, images, rules, source_model=lent, rows=rows)
            hits = correct(independent_copy(network), images.split, rows.stop, torch.device("cpu"), first=rows.start)
            return unattacked([hits.double()])
        metrics = [metric_of(item.metric) for item in cell.rows]
        explainer = explainer_of(facts) if facts.explainer else None
        if attack is None or explainer is None:
            return judge(network, explainer, metrics, images, rules, rows=rows)
        lent = opener.source_model(cell)
        return evaluate(network, explainer, attack, metrics, images, rules, source_model=lent, rows=rows)


def _chosen(cell: StoredCell, row: ScoredRow, rows: range) -> tuple[Floats, Floats]:
    """The stored scores of all images, and those of some."""
    whole = cell.store.load(row).scores
    return whole, whole[rows.start : rows.stop]


def _compared(
    cell: StoredCell, row: ScoredRow, stored: tuple[Floats, Floats], scores: Scores, index: int
) -> Disagreement | None:
    if index in scores.failures:
        return Disagreement(cell, row.metric.label, f"failed: {scores.failures[index].error}")
    whole, old = stored
    new: Floats = scores.values[index].numpy()
    name = cell.rows[0].cell.attack.get("name", "")
    if not name or name in EXACT:
        problem = per_image(old, new, others=len(old) // HITS if row.metric.scope == "accuracy" else 0)
    else:
        allowed = allowance(whole, len(old), unit=row.metric.unit, binary=row.metric.scope == "accuracy")
        problem = of_mean(old, new, allowed, higher_is_better=row.metric.higher_is_better)
    return Disagreement(cell, row.metric.label, problem) if problem else None


def _facts_again(cell: StoredCell, row: ScoredRow, opener: Opener) -> Disagreement | None:
    """What a row says of its metric, or of guessing, that is otherwise by the present code and the images."""
    facts, pairs = row.metric, dict[str, tuple[object, object]]()
    if facts.scope == "accuracy":
        pairs = {name: (getattr(facts, name), getattr(ACCURACY, name)) for name in ("higher_is_better", "unit")}
        if row.guessing is not None:
            now = guessing(opener.data(row.cell).splits[row.split].labels)
            pairs["guessing"] = round(row.guessing, 9), round(now, 9)
    else:
        kind = type(metric_of(facts))
        pairs["higher_is_better"] = facts.higher_is_better, kind.higher_is_better
        pairs["unit"] = facts.unit, kind.bounds == (0.0, 1.0)
    wrong = [f"{name} was {was} and is {now}" for name, (was, now) in pairs.items() if was != now]
    return Disagreement(cell, facts.label, ", ".join(wrong)) if wrong else None


def _feasible_again(cell: StoredCell, rows: range, scores: Scores) -> Disagreement | None:
    """Which images obeyed the rules, where that does not depend on rounding."""
    if cell.rows[0].cell.attack.get("name", "") not in ("", *EXACT):
        return None
    for row in cell.rows:
        stored = cell.store.load(row).feasible[rows.start : rows.stop]
        if differ := int((stored != scores.feasible.numpy()).sum()):
            return Disagreement(cell, row.metric.label, f"feasible differs on {differ} of {len(rows)} images")
    return None


def per_image(old: Floats, new: Floats, others: int = 0) -> str:
    """What is wrong where every image must agree, but for so many others; empty where they do."""
    close = np.isclose(new, old, rtol=PER_IMAGE, atol=PER_IMAGE, equal_nan=True)
    if (~close).sum() <= others:
        return ""
    worst = int(np.flatnonzero(~close)[0])
    return f"{int((~close).sum())} of {len(old)} images differ, e.g. {old[worst]:.6g} is now {new[worst]:.6g}"


def allowance(whole: Floats, count: int, *, unit: bool, binary: bool) -> float:
    """How far the mean of some images may be from the stored one under an attack that searches.

    Args:
        whole: the stored scores of all images.
        count: how many images the mean is of.
        unit: whether scores are between 0 and 1.
        binary: whether they are 0 or 1.
    """
    if binary:
        return max(OF_MEAN, 1 / count + PER_IMAGE)
    defined = whole[np.isfinite(whole)]
    return OF_MEAN if unit else max(OF_SPREAD * float(defined.std()) if len(defined) else 0.0, PER_IMAGE)


def of_mean(old: Floats, new: Floats, allowed: float, *, higher_is_better: bool) -> str:
    """What is wrong where means must agree; empty where they do.

    Args:
        old, new: scores of the same images, stored and computed again; those undefined in either are left out.
        allowed: see ``allowance``.
        higher_is_better: whether a larger score speaks for the network.
    """
    both = np.isfinite(old) & np.isfinite(new)
    if not both.any():
        same = (np.isfinite(old) == np.isfinite(new)).all()
        return "" if same else "images with a defined score have none now, or the other way round"
    was, now = float(old[both].mean()), float(new[both].mean())
    if abs(now - was) <= allowed:
        return ""
    means = f"the mean of {int(both.sum())} images was {was:.4f} and is {now:.4f} (allowed {allowed:.4f})"
    if (now < was) is higher_is_better:
        return f"stronger: {means}; the board needs a new version, and CHANGELOG.md a line that says so"
    return f"weaker: {means}"


def contests_again(cell: StoredCell, opener: Opener) -> list[Disagreement]:
    """Score the images of every contest of a cell again; returns what does not come out, image by image.

    Raises:
        UsageError: something that the cell was computed with is not there, or has changed.
    """
    written, found = cell.store.rows(), []
    for index, last in enumerate(cell.standing):
        row: Row | None = last
        while isinstance(row, ScoredRow) and row.contests:
            if problem := _contested(replace(cell, rows=(cell.rows[index],)), row, opener):
                found.append(Disagreement(cell, row.metric.label, f"contest of {row.contests[-1].by}: {problem}"))
            row = before(row, written)
    return found


def _contested(cell: StoredCell, row: ScoredRow, opener: Opener) -> str:
    """What is wrong with the images of a row's last contest; empty where nothing is."""
    shown = read_images(cell.store.folder, row.contests[-1].images_sha256)
    loaded = cell.store.load(row)
    own = np.flatnonzero(loaded.worst == len(loaded.members) - 1)
    scores = given_scores(cell, opener, Given.of(shown.x, shown.ids), own.tolist())
    problem = per_image(loaded.scores[own], scores.values[0].numpy())
    return problem or ("" if scores.feasible.all() else "an image breaks the rules of the attack")


def given_scores(cell: StoredCell, opener: Opener, given: Given, ids: Sequence[int]) -> Scores:
    """Scores of images that somebody handed in, as those of an attack, in the order of their positions.

    Args:
        cell: that they attack.
        opener: of its board.
        given: the images.
        ids: their positions, in increasing order.
    """
    return joined([scores_of(cell, opener, rows, given) for rows in in_a_row(ids)])


def in_a_row(ids: Sequence[int], most: int = 32) -> list[range]:
    """Increasing positions as ranges of at most so many."""
    found: list[range] = []
    for place in ids:
        if found and place == found[-1].stop and len(found[-1]) < most:
            found[-1] = range(found[-1].start, place + 1)
        else:
            found.append(range(place, place + 1))
    return found
