"""``check``: everything that is claimed of somebody's classes, tried on real digits and printed claim by claim."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.command.saying import say
from attrobust.benchmark.request.plugins import load_plugin, module_of
from attrobust.naming.file_names import not_a_path
from attrobust.types import UsageError


def check(targets: list[str], data_root: Path | None) -> int:
    """Print what is claimed of the classes that files register, or of registered ones; returns the exit code.

    Args:
        targets: plug-in files, or registered classes as ``AXIS:NAME``.
        data_root: the folder that datasets are read from.

    Returns:
        0 where all claims hold, 1 where one does not.

    Raises:
        UsageError: a file does not run or registers nothing, or there is no such class.
    """
    found = [item for target in targets for item in _classes(target)]
    # Imported late, so that a mistyped name is answered at once.
    from attrobust.benchmark.contract.check import Report, contract_of, digits_bench, line, outcomes, summary

    try:
        kinds = [contract_of(cls).kind for _, cls in found]
    except TypeError as error:
        raise UsageError(str(error)) from error
    bench, failed = digits_bench(data_root), False
    for (name, cls), kind in zip(found, kinds, strict=True):
        say(f"{kind} {name} ({cls.__name__})")
        tried = []
        for outcome in outcomes(cls, bench):
            tried.append(outcome)
            say(line(outcome))
            sys.stdout.flush()
        report = Report(name, kind, tuple(tried))
        failed |= bool(report.failed)
        say(summary(report))
    return 1 if failed else 0


def _classes(target: str) -> list[tuple[str, type[Any]]]:
    """Names and classes that a target stands for."""
    axis, colon, name = target.partition(":")
    if colon and axis in REGISTRIES:
        return [(name, REGISTRIES[axis].get(name))]
    if problem := not_a_path(target):
        raise UsageError(f"check: {problem}")
    path = Path(target)
    load_plugin(path, said="check")
    found = [
        (entry.name, registry.get(entry.name))
        for registry in REGISTRIES.values()
        for entry in registry.entries()
        if entry.target.partition(":")[0] == module_of(path)
    ]
    if not found:
        decorators = ", ".join(f"@register_{registry.kind}" for registry in REGISTRIES.values())
        raise UsageError(f"{target} registers no class; decorate it with one of {decorators}")
    return found
