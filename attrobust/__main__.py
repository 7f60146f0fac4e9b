"""``python -m attrobust``: the command."""

import sys

from attrobust.benchmark.command.main import main

if __name__ == "__main__":
    sys.exit(main())
