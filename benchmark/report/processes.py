"""Work on large tables, shared out among copies of this process."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits
from tqdm import TMonitor, tqdm

from attrobust.children import belong_to_parent
from attrobust.machine import cores

T = TypeVar("T")
R = TypeVar("R")
LARGE = 20_000_000
"""Scores of a table that are read in several processes; fewer take seconds."""

_shared: list[tuple[Callable[[Any], Any], Sequence[Any]]] = []
"""What copies of this process work on, the last of it."""


def each(function: Callable[[T], R], items: Sequence[T], *, scores: int, words: str) -> Iterator[R]:
    """``map(function, items)``, in as many processes as there are cores where there are many scores to be read.

    Processes are forked, so that nothing is read or sent that this one has; where that is not possible, or other
    threads are running, all is done here. If a process is killed, what is left is done here too.

    Args:
        function: whose results can be pickled.
        items: in any order.
        scores: per-image scores that are read for all of them.
        words: what a progress bar says.
    """
    # With more threads a product of matrices may be rounded in another way.
    with threadpool_limits(1, user_api="blas"):
        large = scores >= LARGE
        found = _forked(function, items) if large and _can_fork() else map(function, items)
        yield from tqdm(found, words, len(items), leave=False, file=sys.stderr, disable=None if large else True)


def _forked(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    done, others = 0, set(multiprocessing.active_children())
    _shared.append((function, items))
    # What a collection of garbage marks would be copied.
    gc.freeze()
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(cores(), mp_context=context, initializer=belong_to_parent) as pool:
            try:
                for result in pool.map(_call, range(len(items))):
                    done += 1
                    yield result
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
                    process.join()
                raise
    except BrokenProcessPool:
        yield from map(function, items[done:])
    finally:
        gc.unfreeze()
        _shared.pop()


def _call(place: int) -> Any:
    function, items = _shared[-1]
    return function(items[place])


def _can_fork() -> bool:
    others = [thread for thread in threading.enumerate() if not isinstance(thread, TMonitor)]
    return sys.platform == "linux" and len(others) == 1 and cores() > 1
