"""What every rendering says in the same words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Line, Mean, Metric
from attrobust.benchmark.report.training import CHECKPOINT, DIGITS, MODEL, RECIPE, trainings
from attrobust.benchmark.report.view.style import Intervals
from attrobust.benchmark.statistics import Estimate
from attrobust.benchmark.store.schema import How

INTERVALS: dict[How, str] = {"percentile": "bootstrap", "bca": "BCa bootstrap"}
BESIDE: dict[Intervals, str] = {
    "small": " with its 95 % interval",
    "pm": " ± the larger distance from it to an end of its 95 % interval",
    "none": "",
}
"""What stands beside a number."""
KINDS = " ({}; Wilson's where every score is 0 or 1, as in accuracies)"
"""Of intervals."""
SEEDS = "; of several training seeds the mean and ± its standard error over the seeds"
MODIFIED = " (modified: "
CONTESTED = "†"
"""Behind a number that somebody made worse for the network after the run, with stronger images."""
SPREAD = "Worst image / 5 % quantile / median, over all images"


def caption(*boards: Leaderboard) -> str:
    """What the rows have in common, and how their networks came by their weights; of several tables what each has."""
    audited = "" if all(board.audited for board in boards) else ", not audited"
    dataset, model, images, threat, kept, maps = (
        " and ".join(filter(None, dict.fromkeys(found))) for found in zip(*map(_facts, boards), strict=True)
    )
    sentences = [
        f"Protocol {protocols(boards)}: {dataset}, {model}, {images} test images, {threat} in pixel units"
        f"{f', {kept}' if kept else ''}, {maps}{audited}.",
        *told(boards, _trainings),
    ]
    return " ".join(filter(None, sentences))


def told(boards: Sequence[Leaderboard], say: Callable[[Leaderboard], str]) -> list[str]:
    """What there is to say of tables: once where it is the same of all, else of those of which it is."""
    where: dict[str, list[str]] = {}
    for board in boards:
        where.setdefault(say(board), []).append(board.where)
    if len(where) == 1:
        return [*where]
    return [f"{' and '.join(tables)}: {text}" for text, tables in where.items() if text]


def protocols(boards: Sequence[Leaderboard]) -> str:
    """The protocol of tables, with all fields that the command line changed in any."""
    if len(boards) == 1:
        return boards[0].comparison.protocol
    changed: dict[str, list[str]] = {}
    for board in boards:
        title, _, fields = board.comparison.protocol.removesuffix(")").partition(MODIFIED)
        changed.setdefault(title, []).extend(filter(None, fields.split(", ")))
    return " and ".join(
        title + (f"{MODIFIED}{', '.join(sorted(set(fields)))})" if fields else "") for title, fields in changed.items()
    )


def _facts(board: Leaderboard) -> tuple[str, ...]:
    facts, models = board.comparison, dict.fromkeys(line.origin.model for line in board.groups[0].lines)
    model = next(iter(models)) if len(models) == 1 else "models as the rows name them"
    kept = "prediction kept" if facts.keep_prediction else ""
    explained = "the model's own prediction" if facts.label == "predicted" else "the true class"
    return facts.dataset, model, str(facts.images), facts.threat, kept, f"{facts.reduction} maps of {explained}"


def _trainings(board: Leaderboard) -> str:
    lines = board.groups[0].lines
    named = [(method_name(line, board, own=True), line.origin) for line in lines if not line.baseline]
    return trainings(named).strip()


def legend(*boards: Leaderboard) -> str:
    """How to read the numbers."""
    board = boards[0]
    attacks = dict.fromkeys(item.attack for each in boards for item in each.accuracies if item.attack)
    under = "".join(f", under {attack} on the attacked images" for attack in attacks)
    accuracy = f"; accuracy is on the whole test split{under}" if board.accuracies else ""
    seeds = SEEDS if any(item.groups[0].means for item in boards) else ""
    marked = "marked entries are the best and those that no other can be told apart from and above"
    each = ", of each by itself" if len(boards) > 1 else ""
    contested = (
        f" {CONTESTED} is a number that stronger images made worse after the run: see the notes."
        if any_contested(boards)
        else ""
    )
    beside = BESIDE[board.style.intervals]
    interval = beside and beside + KINDS.format(INTERVALS[board.interval])
    return (
        f"Mean over images{interval}{seeds}{accuracy}; {marked} (paired over images, false discoveries held at 5 % "
        f"over the table{each}). "
        f"An exclamation mark is a flag: see the notes.{contested}"
    )


def interval_text(metric: Metric, estimate: Estimate, intervals: Intervals) -> str:
    """What stands beside a mean of its interval: ``[58.0, 64.1]``, ``± 3.2`` or nothing.

    Its ends have the digits of the mean, as in all formats; its width has more where it would seem to be none.
    """
    if math.isnan(estimate.low) or intervals == "none":
        return ""
    if intervals == "pm":
        return f"± {metric.width_text(max(estimate.mean - estimate.low, estimate.high - estimate.mean))}"
    return f"[{metric.text(estimate.low)}, {metric.text(estimate.high)}]"


def any_contested(boards: Sequence[Leaderboard]) -> bool:
    """Whether a number of tables was made worse by stronger images after the run."""
    lines = (line for board in boards for group in board.groups for line in group.lines)
    return any(number.contests for line in lines for number in line.numbers)


def subset_title(shown: Sequence[tuple[Leaderboard, Group]]) -> str:
    """Which images groups are about, of the same subset."""
    images = {board.where: group.images for board, group in reversed(shown)}
    boards = {board.where: board for board, _ in shown}

    def title(board: Leaderboard) -> str:
        if shown[0][1].subset == ALL:
            return f"All {images[board.where]} images"
        return f"The {images[board.where]} images that every evaluated network classifies correctly{left_out(board)}"

    return "; ".join(told([*boards.values()], title))


def left_out(board: Leaderboard) -> str:
    """Which networks do not decide the common subset, as the end of a sentence."""
    return f", those at chance left out ({board.at_chance})" if board.at_chance else ""


def header(metric: Metric, others: Sequence[Metric]) -> str:
    """A column's title; what was typed for it where another column has the same title."""
    return metric.label if sum(other.title == metric.title for other in others) > 1 else metric.title


def name(line: Line, board: Leaderboard) -> str:
    """A row's name, with its training seed where there are several, and whatever else tells rows of one name apart."""
    return _once(board, ("name", line.key), lambda: _name(line, board))


def _name(line: Line, board: Leaderboard) -> str:
    lines = board.groups[0].lines
    shown = _with_seed(line, board)
    twins = [other for other in lines if other.label == line.label and _with_seed(other, board) == shown]
    if len(twins) == 1:
        return shown
    digests = {other.sha256 for other in twins}
    return (
        f"{shown} [weights {line.sha256[:DIGITS]}]" if len(digests) == len(twins) else f"{shown} [{line.key[:DIGITS]}]"
    )


def _with_seed(line: Line, board: Leaderboard) -> str:
    shown = method_name(line, board)
    several = len({other.seed for other in board.groups[0].lines if other.seed is not None}) > 1
    return f"{shown} (seed {line.seed})" if several and line.seed is not None else shown


def mean_name(mean: Mean, board: Leaderboard) -> str:
    """What the row of a method over its training seeds is called."""
    return f"{method_name(mean, board)}, mean of {mean.seeds} seeds"


def method_name(item: Line | Mean, board: Leaderboard, *, own: bool = False) -> str:
    """What was typed, with what tells it from other rows, or a fingerprint where words do not.

    Args:
        item: a row.
        board: with all rows.
        own: whether models and recipes that are not the same in the whole table are left out, because they are said
            elsewhere; what differs among rows for which the same was typed is always told.
    """
    return _once(board, ("method", str(own), _key(item)), lambda: _method_name(item, board, own))


def _method_name(item: Line | Mean, board: Leaderboard, own: bool) -> str:
    shown = _worded(item, board, own)
    namesakes = [line for line in board.groups[0].lines if line.label == item.label]
    alike = {line.method for line in namesakes if _worded(line, board, own) == shown}
    return f"{shown} [{item.method[:DIGITS]}]" if len(alike) > 1 else shown


def _worded(item: Line | Mean, board: Leaderboard, own: bool) -> str:
    return _once(board, ("worded", str(own), _key(item)), lambda: _in_words(item, board.groups[0].lines, own))


def _in_words(item: Line | Mean, lines: Sequence[Line], own: bool) -> str:
    namesakes = [line for line in lines if line.label == item.label]
    told = []
    for key, fact in item.origin.facts.items():
        in_all = not own and (key == MODEL or key.startswith(RECIPE))
        if _differs(key, lines if in_all else namesakes):
            told.append(fact.words)
    return f"{item.label} ({', '.join(dict.fromkeys(told))})" if told else item.label


def _key(item: Line | Mean) -> str:
    return item.key if isinstance(item, Line) else item.method


def _once(board: Leaderboard, key: tuple[str, ...], find: Callable[[], str]) -> str:
    """What a row is called depends on all rows; it is found once for a table, and not for every number."""
    if key not in board.said:
        board.said[key] = find()
    return board.said[key]


def _differs(key: str, lines: Sequence[Line]) -> bool:
    """Whether networks are not the same in a fact; a checkpoint and a start are told from networks without."""
    found = [line.origin.facts[key].value for line in lines if key in line.origin.facts]
    if key in (CHECKPOINT, "start") and 0 < len(found) < len(lines):
        return True
    return any(value != found[0] for value in found)
