"""The command line's entry point.

Exit codes: 0 all done, 1 something failed, 2 usage error; 129, 130 and 143 ended by SIGHUP, Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrobust.benchmark.command import streams
from attrobust.benchmark.command.asked import asked
from attrobust.benchmark.command.blame import raised_in_a_plugin
from attrobust.benchmark.command.ending import Ended, Ending, line_of
from attrobust.benchmark.command.listing import REGISTRIES, listing
from attrobust.benchmark.command.options import benchmark_parser, formats_of
from attrobust.benchmark.command.parsers import (
    check_parser,
    clean_parser,
    figures_parser,
    gallery_parser,
    publish_parser,
    report_parser,
    submit_parser,
    verify_parser,
)
from attrobust.benchmark.command.saying import tell
from attrobust.benchmark.request.plugins import load_plugin, module_of
from attrobust.benchmark.request.shard import Shard
from attrobust.naming.safe import lines
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

if TYPE_CHECKING:
    from attrobust.benchmark.run.runner import Runner

NEGATIVE = re.compile(r"-\.?\d")
"""How a negative number begins."""

# OpenMP threads that spin while they wait make torch ten times slower when another process needs a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    if argv is None:
        return Ending().carry_out(_own_process)
    try:
        return _answer(list(argv), own_process=False)
    except KeyboardInterrupt:
        sys.stderr.write(line_of(signal.SIGINT))
        return 128 + signal.SIGINT


def _own_process() -> int:
    """The exit code of a command that has this process for itself."""
    streams.prepare()
    try:
        code = _answer(sys.argv[1:], own_process=True)
    except SystemExit as ended:
        if ended.code:
            raise
        code = 0  # ``--help`` has been printed
    return streams.close(code)


def _answer(words: list[str], *, own_process: bool) -> int:
    """Carry out what was typed; returns the exit code."""
    began = time.monotonic()
    try:
        _check_words(words)
        words = _with_negative_values(words)
        if words and words[0] in COMMANDS:
            parser, command = COMMANDS[words[0]]
            return command(parser().parse_args(words[1:]))
        return _benchmark(benchmark_parser().parse_args(words), words, began, own_process=own_process)
    except UsageError as error:
        tell(f"error: {error}")
        return 2
    except (Exception, SystemExit, GeneratorExit, KeyboardInterrupt) as error:
        # Ctrl-C is an ``Ended`` in a process of our own, and may come while a plug-in runs in somebody else's.
        if isinstance(error, KeyboardInterrupt) and (isinstance(error, Ended) or not own_process):
            raise
        if found := raised_in_a_plugin(error):
            tell(f"error: {found}")
            return 2
        # Whoever reads what is printed has read enough.
        if isinstance(error, BrokenPipeError):
            return 0
        if isinstance(error, OSError):
            tell(f"error: {streams.in_words(error)}")
            return 2
        raise


def _check_words(words: Sequence[str]) -> None:
    """Raise UsageError for a mistyped command, and for a word that is no UTF-8, as the name of a file may be.

    No record of a run could hold such a word.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word!a} is not encoded in UTF-8; give the file another name") from None
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS)
        raise UsageError(f"there is no command {words[0]!r}.{hint} Commands: {', '.join(COMMANDS)}; see --help")


def _with_negative_values(words: Sequence[str]) -> list[str]:
    """The words, where a negative number is one with the option before it: parsers take ``-1/255`` for an option."""
    joined: list[str] = []
    for word in words:
        if NEGATIVE.match(word) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _benchmark(options: argparse.Namespace, words: list[str], began: float, *, own_process: bool) -> int:
    if options.list is not None:
        return _list(options)
    if own_process:
        from attrobust.process import flush_in_all_threads, keep_freed_memory

        flush_in_all_threads()
        keep_freed_memory()
    for path in options.plugin:
        load_plugin(path)
    _leave_out_warnings()
    formats = formats_of(options.export)
    shard = None if options.shard is None else Shard.parse(options.shard)
    runs = asked(options)
    swept, protocols = [one for one, _ in runs], [protocol for _, protocol in runs]
    _note_left_out()

    from attrobust.benchmark.command.finished import Shown
    from attrobust.benchmark.command.sweep import folders, run_all, runners_of, shared_with
    from attrobust.benchmark.request.request import make_request

    places = folders(options.out, protocols[0].name, swept, shard)
    requests = [
        make_request(
            protocol,
            checkpoints=options.checkpoint,
            choose=options.choose,
            accuracy_floor=options.accuracy_floor,
            recipe=options.recipe,
            epochs=options.epochs,
            data_root=options.data_root,
            retrain=options.retrain,
            interval=options.interval,
            audit=not options.no_audit,
            strict=options.strict,
            device=options.device,
            batch_size=options.batch_size,
            memory=options.memory,
            workers=options.workers or ("auto" if own_process or options.executor != "local" else "1"),
            executor=options.executor,
            gpus_per_job=options.gpus_per_job,
            plugins=options.plugin,
            keep_images=options.keep_images != "none",
            out=place,
            shard=shard,
        )
        for protocol, place in zip(protocols, places, strict=True)
    ]
    if options.dry_run:
        from attrobust.benchmark.command.dry_run import asked_for, expected, standing

        sys.stdout.write(lines(asked_for(requests)))
        sys.stdout.flush()

        def begun(runner: Runner, earlier: Sequence[Runner], title: str) -> None:
            sys.stdout.write(lines(title + standing(runner, shared_with(runner, earlier))))
            sys.stdout.flush()

        runners = runners_of(requests, swept, words, begun)
    else:
        runners = runners_of(requests, swept, words)
    for line in dict.fromkeys(line for runner in runners for line in runner.notes):
        tell(f"note: {line}")
    if options.dry_run:
        started = time.monotonic() - began
        for index, (runner, one) in enumerate(zip(runners, swept, strict=True)):
            found = expected(runner, started=started, shared=shared_with(runner, runners[:index]))
            sys.stdout.write(lines(f"\n-- {one.words}\n{found}" if one.words and found else found))
            # The command starts once, whatever the number of its runs.
            started = started if runner.is_done else 0.0
        return 0
    failures = run_all(runners, swept, formats, Shown.asked(options))
    for line in failures:
        tell(f"failed: {line}")
    return 1 if failures else 0


def _leave_out_warnings() -> None:
    """Print no warnings of libraries that say nothing to a user."""
    # They concern private copies of networks only.
    warnings.filterwarnings("ignore", message="Setting .* hooks", module=r"captum\.")
    # Files that do not decode are refused in words.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _list(options: argparse.Namespace) -> int:
    """Print what is registered; a plug-in that does not load is reported and left out."""
    for path in options.plugin:
        try:
            load_plugin(path)
        except UsageError as error:
            tell(f"note: {error}")
            for registry in REGISTRIES.values():
                registry.forget(module_of(path))
    text = listing(options.list)
    _note_left_out()
    sys.stdout.write(lines(text))
    return 0


def _note_left_out() -> None:
    """Report every installed plug-in that is left out."""
    for line in dict.fromkeys(line for registry in REGISTRIES.values() for line in registry.left_out()):
        tell(f"note: {line}")


def _finished(name: str, options: argparse.Namespace) -> int:
    """What is done with runs that lie on disk."""
    from attrobust.benchmark.command import finished, verify  # They import numpy, as ``report --help`` does not.

    _leave_out_warnings()
    commands = {"report": finished.report, "verify": verify.verify, "clean": finished.clean}
    return commands[name](options)


def _figures(options: argparse.Namespace) -> int:
    from attrobust.benchmark.command.figures import figures

    return figures(options)


def _gallery(options: argparse.Namespace) -> int:
    from attrobust.benchmark.command.gallery import gallery

    _leave_out_warnings()
    return gallery(options)


def _submit(options: argparse.Namespace) -> int:
    from attrobust.benchmark.command.board import submit

    _leave_out_warnings()
    return submit(options)


def _check(options: argparse.Namespace) -> int:
    from attrobust.benchmark.command.check import check

    _leave_out_warnings()
    return check(options.targets, options.data_root)


def _publish(options: argparse.Namespace) -> int:
    from attrobust.benchmark.command.publish import publish_runs

    return publish_runs(options)


COMMANDS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], int]]] = {
    "report": (report_parser, functools.partial(_finished, "report")),
    "figures": (figures_parser, _figures),
    "gallery": (gallery_parser, _gallery),
    "verify": (verify_parser, functools.partial(_finished, "verify")),
    "submit": (submit_parser, _submit),
    "clean": (clean_parser, functools.partial(_finished, "clean")),
    "check": (check_parser, _check),
    "publish": (publish_parser, _publish),
}
"""What is done beside a run, by the first word of the command line: the parser, and what it is handed to."""
