"""Train or load, attack, score, print: ``python run_benchmark.py --methods aga,hessian,pgd-at``."""

import os.path
import runpy
import sys

if __name__ == "__main__":
    ENDING = os.path.join(os.path.dirname(os.path.realpath(__file__)), "benchmark", "command", "ending.py")  # noqa: PTH118, PTH120
    runpy.run_path(ENDING)["exit_on_signals"]()

from pathlib import Path

ROOT = Path(__file__).resolve().parent

# Python puts this folder first on its path: so it finds attrobust, but would also find our metrics/ for a plug-in that
# imports a metrics of its own. Worker processes run this file again, with the path as it is left here.
sys.path.insert(0, str(ROOT))

from attrobust.benchmark.command.main import main  # noqa: E402

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]

if __name__ == "__main__":
    sys.exit(main())
