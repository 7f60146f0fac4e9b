"""``python -m attrobust``: the same command as ``run_benchmark.py``."""

import sys

from attrobust.benchmark.command.main import main

if __name__ == "__main__":
    sys.exit(main())
