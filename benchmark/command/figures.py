"""``figures``: pictures of finished runs as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from attrobust.benchmark.command.saying import say, tell
from attrobust.naming.lists import listed
from attrobust.types import UsageError


def figures(options: argparse.Namespace) -> int:
    """Write figures; returns the exit code: 1 where there was nothing to draw at all."""
    from attrobust.benchmark.figures.every import KINDS, check_names, draw
    from attrobust.benchmark.figures.style import formats_of, save

    names = listed(options.only, "--only") or list(KINDS)
    check_names(names)
    formats = formats_of(listed(options.format, "--format"))
    if len(options.runs) > 1 and options.out is None:
        raise UsageError("figures of several runs need a folder of their own; name it with --out")
    folder: Path = options.out or options.runs[0] / "figures"
    written = 0
    for drawn in draw(options.runs, names, options.metric, options.subset):
        if drawn.figure is None:
            tell(f"note: no {drawn.name}: {drawn.problem}")
            continue
        for kind in formats:
            path = folder / f"{drawn.name}.{kind}"
            save(drawn.figure, path)
            say(str(path))
            written += 1
    return 0 if written else 1
