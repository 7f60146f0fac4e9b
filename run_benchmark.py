"""Train or load, attack, score, print: ``python run_benchmark.py --methods aga,hessian,pgd-at``."""

import sys

from attrobust.benchmark.command.main import main

if __name__ == "__main__":
    sys.exit(main())
