"""One bar for a whole command: images done of how many, images per second, time left, and below it what is being done.

A command may be several runs, and a run several plans; all of them move the same bar. Jobs of which nothing has to be
done do not count, so that speed and time left are those of the work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm
from tqdm.utils import disp_trim

from attrobust.benchmark.executors.base import Job
from attrobust.naming.safe import line as line_of

LINES = 8
"""Jobs that are shown below the bar."""
WIDTH = 80
"""Columns of a terminal that does not say how many it has."""
SMOOTHING = 0.1
"""How much the last batch counts in the speed: batches take unequally long."""


class Bar:
    """What is drawn on stderr; nothing without a terminal.

    Args:
        total: images, as far as they are known.
        words: before the bar.
        drawn: whether there is anything to draw.
    """

    def __init__(self, total: int, words: str, *, drawn: bool) -> None:
        self._total, self._done = total, 0
        self._bar: tqdm[Any] = tqdm(
            total=total,
            desc=words,
            unit=" images",
            leave=False,
            disable=None if drawn else True,
            smoothing=SMOOTHING,
            file=sys.stderr,
        )
        self._lines: list[tqdm[Any]] = []

    def expect(self, images: int) -> None:
        """There are more images to be done, or fewer."""
        self._total += images
        self._bar.total = max(self._total, self._done)

    def advance(self, images: int) -> None:
        """Images are done."""
        self._done += images
        self._bar.total = max(self._total, self._done)
        self._bar.update(images)

    def name(self, words: str) -> None:
        """Say something else before the bar."""
        self._bar.set_description_str(words, refresh=False)

    def show(self, labels: Sequence[str]) -> None:
        """Show below the bar what is being done."""
        if self._bar.disable:
            return
        shown = [*labels[:LINES]]
        if len(labels) > LINES:
            shown[-1] = f"and {len(labels) - LINES + 1} more"
        for place in range(len(self._lines), len(shown)):
            line: tqdm[Any] = tqdm(total=0, position=place + 1, bar_format="{desc}", leave=False, file=sys.stderr)
            self._lines.append(line)
        width = (self._bar.ncols or WIDTH) - 1
        for line, words in zip(self._lines, [*shown, *[""] * (len(self._lines) - len(shown))], strict=True):
            line.set_description_str(disp_trim(f"  {line_of(words)}", width) if words else "")

    def refresh(self) -> None:
        """Draw it again."""
        self._bar.refresh()

    def hide(self) -> None:
        """Take it off the screen until it is drawn again."""
        if not self._bar.disable:
            self._bar.clear()

    def close(self) -> None:
        """Remove it from the screen, the last line first, so that none moves up into the place of another."""
        for line in reversed(self._lines):
            line.close()
        self._lines.clear()
        self._bar.close()


class CommandBar:
    """The bar of a command.

    Args:
        images: that are to be done in each of its runs; None where that turns out as it goes.

    Attributes:
        bar: what is drawn.
        is_counted: whether the images of the plan that is next are among those.
    """

    def __init__(self, images: Sequence[int | None]) -> None:
        self._images = images
        self.bar = Bar(sum(count or 0 for count in images), self._words(0), drawn=any(count != 0 for count in images))
        self.is_counted = False

    def begin(self, run: int) -> None:
        """A run begins, counted from 0."""
        self.is_counted = self._images[run] is not None
        self.bar.name(self._words(run))

    def end(self, run: int) -> None:
        """A run has ended: the screen is left to what is printed, until the next begins."""
        if run + 1 == len(self._images):
            self.bar.close()
        else:
            self.bar.hide()

    def _words(self, run: int) -> str:
        return "run" if len(self._images) == 1 else f"run {run + 1} of {len(self._images)}"


_commands: list[CommandBar] = []
"""The one that is drawn, the last of it."""


@contextmanager
def command_bar(images: Sequence[int | None]) -> Iterator[CommandBar]:
    """Inside the block all runs move one bar; see ``CommandBar``."""
    found = CommandBar(images)
    _commands.append(found)
    try:
        yield found
    finally:
        _commands.remove(found)
        found.bar.close()


class RunBar:
    """The part that the jobs of a plan have of a bar: of the command's, or of their own.

    Args:
        jobs: of the plan.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        command = _commands[-1] if _commands else None
        total = sum(job.images for job in jobs)
        self._owns = command is None
        self._bar = Bar(0, "run", drawn=total > 0) if command is None else command.bar
        # What the first plan of a run has to do was counted before; of others all jobs count until they turn out done.
        self._counted = command is not None and command.is_counted
        if command is not None:
            command.is_counted = False
        if not self._counted:
            self._bar.expect(total)
        self._now: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.show([])
        if self._owns:
            self._bar.close()

    def begun(self, job: Job) -> None:
        """A job is being carried out."""
        self._now[job.key] = job.label
        self._show()

    def done(self, job: Job) -> None:
        """A job is done, or there was nothing to do."""
        if self._now.pop(job.key, None) is not None:
            self._bar.advance(job.images)
            self._show()
        elif not self._counted:
            self._bar.expect(-job.images)

    def tick(self) -> None:
        """Time has passed."""
        self._bar.refresh()

    def _show(self) -> None:
        self._bar.show([*dict.fromkeys(self._now.values())])
