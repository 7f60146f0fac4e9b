"""Whether the files of a run are as they were written, and its rows and tables what its scores say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from attrobust.benchmark.report.cards import Cards, read_cards, row_problems
from attrobust.benchmark.report.chosen import choice_problems, tuning_problems
from attrobust.benchmark.report.claims import plan_problems
from attrobust.benchmark.report.contests import contest_problems
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.older import older_tables
from attrobust.benchmark.report.recomputed import wrong_numbers
from attrobust.benchmark.report.write import FORMATS, as_written, says_the_same
from attrobust.benchmark.store.damage import DamagedError, Problem, damaged
from attrobust.benchmark.store.misplaced import misplaced
from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.repair import damaged_files
from attrobust.benchmark.store.row_file import CHANGED, MISNAMED, Line
from attrobust.benchmark.store.rows import FailedRow, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError

REMOVE = "remove its line from rows.jsonl to recompute it, or let --repair set it aside"


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What was found of a run.

    Attributes:
        sound: how many rows are what their scores give.
        problems: everything that is wrong.
    """

    sound: int
    problems: tuple[Problem, ...]


def verify(store: Store) -> tuple[int, list[str]]:
    """How many rows of a run are sound, and one line for everything that is wrong, see ``examine``."""
    found = examine(store)
    return found.sound, [problem.words for problem in found.problems]


def examine(store: Store) -> Examined:
    """Recompute every stored number of a run from its per-image scores, check every file, and hold the tables to them.

    A failed row counts only where the run's table shows it: one that was mended later is history.

    Raises:
        UsageError: the folder holds no run, or one of a version that is not read.
    """
    problems: list[Problem] = []
    plan: Plan | None = None
    try:
        plan = store.plan() if store.is_finished or not store.is_begun else None
    except DamagedError as error:
        problems.append(Problem(words=str(error), files=(error.path,)))
    lines = list(store.lines.examined())
    rows = {line.row.fingerprint: line.row for line in lines if line.row and not line.problem}
    numbers_of = _numbers_of(lines)
    named = {line.row.fingerprint: line.row for line in lines if line.row and line.problem != MISNAMED}
    wrong = _wrong(store, named, problems)
    shown = {entry.row: entry for entry in plan.entries} if plan else {}
    problems += [
        Problem(words=f"row {key[:12]} ({entry.explainer}, {entry.attack}, {entry.metric}) is missing")
        for key, entry in shown.items()
        if key not in numbers_of
    ]
    for line in lines:
        if line.problem:
            problems.append(Problem(words=_words(line, wrong), lines=(line.number,)))
    sound = 0
    for key, row in rows.items():
        where = f"row {key[:12]} ({row.metric.label})"
        if isinstance(row, FailedRow):
            problems += [Problem(words=f"{where} failed: {row.error}")] if key in shown else []
        elif (found := wrong.get(key, "")) and isinstance(row, ScoredRow) and not store.has_scores(row):
            problems.append(Problem(words=f"{where}: {found}", files=(store.scores.path(key),)))
        elif found:
            problems.append(Problem(words=f"{where}: {found}; {REMOVE}", lines=numbers_of[key]))
        else:
            sound += 1
    cards, of_cards = read_cards(store)
    problems += [*damaged(damaged_files(store.folder)), *of_cards]
    for path, problem in misplaced(store.folder):
        problems.append(Problem(words=f"{path} {problem}; remove it, or let --repair set it aside", files=(path,)))
    problems += [Problem(words=words, lines=numbers_of[key]) for key, words in row_problems(rows, cards)]
    problems += _of_plan(store, plan, rows, cards) if plan else []
    problems += [Problem(words=words, lines=numbers_of[key]) for key, words in contest_problems(store, rows)]
    if plan and not problems:
        problems += _stale_tables(store, plan)
    return Examined(sound=sound, problems=tuple(problems))


def _numbers_of(lines: Iterable[Line]) -> dict[str, tuple[int, ...]]:
    """By fingerprint, the numbers of the lines that hold a row."""
    found: dict[str, tuple[int, ...]] = {}
    for line in lines:
        if line.row:
            found[line.row.fingerprint] = (*found.get(line.row.fingerprint, ()), line.number)
    return found


def _words(line: Line, wrong: Mapping[str, str]) -> str:
    if line.row is None:
        return f"{line.problem}; {REMOVE}"
    number = wrong.get(line.row.fingerprint) if line.problem == CHANGED else None
    problem = f": {number}" if number else line.problem
    return f"row {line.row.fingerprint[:12]} ({line.row.metric.label}){problem}; {REMOVE}"


def _wrong(store: Store, rows: Mapping[str, Row], problems: list[Problem]) -> dict[str, str]:
    """By fingerprint, what of a row is not what its scores give; none where the archive of all scores is damaged."""
    try:
        if not store.scores.is_archive_as_packed:
            raise DamagedError(store.scores.archive, "is not as it was packed", "put back the file that was published")
        return wrong_numbers(store, list(rows.values()))
    except DamagedError as error:
        problems.append(Problem(words=str(error), files=(error.path,)))
        return {}


def _of_plan(store: Store, plan: Plan, rows: Mapping[str, Row], cards: Cards) -> Iterator[Problem]:
    path = store.folder / "run.json"
    lines = [*plan_problems(plan, rows, cards), *choice_problems(plan, rows), *tuning_problems(plan, rows)]
    if not lines and plan.digest and not store.is_plan_as_dumped:
        lines.append("run.json is not as the run wrote it; run the same command again")
    yield from (Problem(words=words, files=(path,)) for words in lines)


def _stale_tables(store: Store, plan: Plan) -> Iterator[Problem]:
    if plan.shard and len(plan.shard.starts) > 1:
        return
    board = build([store], plan.interval)
    for suffix, render in FORMATS.values():
        path = store.folder / f"leaderboard.{suffix}"
        if not path.exists():
            continue
        try:
            written = as_written(path)
        except UsageError as error:
            yield Problem(words=str(error), files=(path,))
            continue
        older = () if plan.digest else older_tables(render, board)
        if not says_the_same(written, render(board)) and written not in older:
            yield Problem(words=f"{path} does not say what the rows say; write it again with report", files=(path,))
