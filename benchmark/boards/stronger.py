"""Contests a published number: scores the images that somebody handed in, and keeps the worst of each image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.boards.board import stores_of
from attrobust.benchmark.boards.given import Given
from attrobust.benchmark.boards.handed import HandedIn, check_ball, check_images
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.recompute import given_scores
from attrobust.benchmark.boards.registered import check_registered
from attrobust.benchmark.boards.sample import StoredCell, cells_of
from attrobust.benchmark.evaluation.scores import Scores
from attrobust.benchmark.report.sweeps import boards_of, together
from attrobust.benchmark.report.verify import verify
from attrobust.benchmark.report.write import FORMATS, write
from attrobust.benchmark.statistics import estimates, shares
from attrobust.benchmark.store.arrays import PerImage
from attrobust.benchmark.store.contests import Shown, with_contest, write_images
from attrobust.benchmark.store.provenance import EVALUATION, code_digest, stamp
from attrobust.benchmark.store.rows import Contest, ScoredRow
from attrobust.threat import ThreatModel
from attrobust.types import UsageError

IMPROVES = 1e-6
"""How much worse a score must be, absolute and relative; less is rounding."""
LONGEST = 60
"""Characters of a finder's name."""


@dataclass(frozen=True)
class Worse:
    """A number that became worse for the network; prints as one line.

    Attributes:
        cell: that it is of.
        before, after: rows.
    """

    cell: StoredCell
    before: ScoredRow
    after: ScoredRow

    def __str__(self) -> str:
        old, new = (math.nan if row.mean is None else row.mean for row in (self.before, self.after))
        count = self.after.contests[-1].improved
        number = f"{self.cell} / {self.after.metric.label}"
        return f"{number}: worse on {count} of {self.after.n} images, {old:.4f} -> {new:.4f}"


def contest(board: Path, handed: HandedIn, by: str, data_root: Path | None) -> list[Worse]:
    """Score images that were handed in; write a row for every number that they make worse, and the tables again.

    Args:
        board: its folder.
        handed: the images.
        by: the finder's name.
        data_root: the folder that datasets are read from.

    Returns:
        What became worse for the network; nothing is written where nothing did.

    Raises:
        UsageError: the board is not sound, has no such number, or the images are others or out of the ball.
    """
    _check_name(by)
    stores = stores_of(board)
    for store in stores.values():
        if problems := verify(store)[1]:
            raise UsageError(f"{store.folder} is not as it was published ({problems[0]}); see verify")
    cell, opener = contested_cell(cells_of(stores), handed), Opener(board, data_root)
    check_registered(board, [cell])
    images = opener.images(cell.rows[0])
    known = handed.ids[handed.ids < len(images)]
    clean: Floats = images.split.batch(known.tolist())[0].numpy()
    check_images(handed, clean, len(images))
    check_ball(handed, clean, ThreatModel(**cell.rows[0].cell.threat))
    scores = given_scores(cell, opener, Given.of(handed.x, handed.ids), handed.ids.tolist())
    for failure in scores.failures.values():
        raise UsageError(f"the images could not be scored: {failure.error}")
    with cell.store.locked():
        found = _written(cell, handed, by, scores)
    if found:
        write_tables(board, cell)
    return found


def _check_name(by: str) -> None:
    if not by.strip() or not by.isprintable() or len(by) > LONGEST or ";" in by:
        raise UsageError(f"--by {by!r} must be a name of 1 to {LONGEST} characters in one line, without semicolon")


def contested_cell(cells: Sequence[StoredCell], handed: HandedIn) -> StoredCell:
    """The cell whose numbers are contested; raises UsageError where there is none, or several."""
    found = [cell for cell in cells if cell.explainer and cell.attack and cell.rows[0].metric.scope == "attack"]
    steps: dict[str, tuple[Callable[[StoredCell], object], object]] = {
        "run": (lambda cell: cell.run, handed.run),
        "method": (lambda cell: cell.subject.label, handed.method),
        "seed": (lambda cell: cell.subject.seed, handed.seed),
        "explainer": (lambda cell: cell.explainer, handed.explainer),
        "attack": (lambda cell: cell.attack, handed.attack),
    }
    for name, (value, wanted) in steps.items():
        if name == "run" and not wanted:
            continue
        left = [cell for cell in found if value(cell) == wanted]
        # A name alone stands for what was typed with settings.
        left = left or [cell for cell in found if str(value(cell)).partition(":")[0] == wanted]
        if not left:
            known = ", ".join(dict.fromkeys(str(value(cell)) for cell in found))
            raise UsageError(f"the board has no {name} {wanted} among the numbers of {handed.words}; it has {known}")
        found = left
    left = [cell for cell in found if math.isclose(cell.rows[0].cell.threat["eps"], handed.eps, rel_tol=1e-6)]
    if not left:
        known = ", ".join(dict.fromkeys(str(ThreatModel(**cell.rows[0].cell.threat)) for cell in found))
        raise UsageError(f"the board has no {handed.words}; it has {known}")
    if len(left) > 1:
        words = ", ".join(cell.run for cell in left)
        raise UsageError(f"{handed.words} stands in several tables; name one of them as run: {words}")
    return left[0]


def _written(cell: StoredCell, handed: HandedIn, by: str, scores: Scores) -> list[Worse]:
    """Write rows, scores and images of all metrics that became worse."""
    feasible: Booleans = scores.feasible.numpy()
    stored = [cell.store.load(row) for row in cell.standing]
    improved = [
        _improved(row, loaded.scores[handed.ids], scores.values[index].numpy()) & feasible
        for index, (row, loaded) in enumerate(zip(cell.standing, stored, strict=True))
    ]
    used: Booleans = np.logical_or.reduce(improved)
    if not used.any():
        return []
    images = write_images(cell.store.folder, Shown(x=handed.x[used], ids=handed.ids[used]))
    code, found = code_digest(EVALUATION, []), []
    for index, (row, loaded) in enumerate(zip(cell.standing, stored, strict=True)):
        if improved[index].any():
            entry = Contest(by=by, images_sha256=images, improved=int(improved[index].sum()), code=code)
            values: Floats = scores.values[index].numpy()
            merged = _merged(loaded, handed.ids[improved[index]], values[improved[index]], by)
            found.append(Worse(cell, row, _row(cell, row, merged, entry)))
    cell.store.append([item.after for item in found])
    return found


def _improved(row: ScoredRow, old: Floats, new: Floats) -> Booleans:
    """Where a new score is worse for the network than the stored one, or defined where that is not."""
    harm = old - new if row.metric.higher_is_better else new - old
    least = IMPROVES * np.maximum(1.0, np.abs(old))
    with np.errstate(invalid="ignore"):
        return np.isfinite(new) & (~np.isfinite(old) | (harm > least))


def _merged(loaded: PerImage, ids: Integers, values: Floats, by: str) -> PerImage:
    """The stored scores with those of some images in their place."""
    scores, feasible, worst = loaded.scores.copy(), loaded.feasible.copy(), loaded.worst.copy()
    scores[ids], feasible[ids], worst[ids] = values, True, len(loaded.members)
    return PerImage(scores=scores, feasible=feasible, worst=worst, members=[*loaded.members, by])


def _row(cell: StoredCell, row: ScoredRow, merged: PerImage, entry: Contest) -> ScoredRow:
    """The row of scores that are merged, which are written."""
    (estimate,) = estimates([merged.scores], [row.metric.unit])
    found = (estimate.mean, estimate.low, estimate.high)
    mean, low, high = (value if math.isfinite(value) else None for value in found)
    new = with_contest(row, entry)
    sha256 = cell.store.save_scores(new.fingerprint, merged.scores, merged.feasible, merged.worst, merged.members)
    return replace(
        new,
        mean=mean,
        ci=(low, high),
        n_defined=estimate.defined,
        n_feasible=int(merged.feasible.sum()),
        members=shares(merged.worst, merged.members) or None,
        scores_sha256=sha256,
        provenance=stamp("cpu", row.provenance.threads, row.provenance.batch_size),
    ).signed()


def write_tables(board: Path, cell: StoredCell) -> None:
    """Write the tables again that show a cell, in the formats that are there."""
    for folder in dict.fromkeys((cell.store.folder, board)):
        formats = [name for name, (suffix, _) in FORMATS.items() if (folder / f"leaderboard.{suffix}").is_file()]
        groups = together([folder])
        write(boards_of(groups, groups[0].stores[0].plan().interval), folder, formats)
