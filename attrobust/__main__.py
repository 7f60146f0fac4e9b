"""``python -m attrobust``, and the script ``attrobust``: the same command as ``run_benchmark.py``."""

import sys

from attrobust.benchmark.command.ending import exit_on_signals


def run() -> int:
    """Carry out what was typed; returns the exit code."""
    exit_on_signals()
    from attrobust.benchmark.command.main import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
