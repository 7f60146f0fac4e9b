"""Compute the README's table again, and compare it with what the README prints.

    python examples/reproduce_a_table.py [--images 64] [--out results/runs/reproduce] [other options of the command]

Runs the README's own command, which takes about a minute, and reads ``leaderboard.csv`` of the run. The exit code is 0
when every number is the same to the digit, 1 when one differs. Other machines and library versions can differ in the
last digit. With fewer images nearly all numbers differ; this is for trying the script out.
"""

from __future__ import annotations

import argparse
import csv
import re
import shlex
import sys
from pathlib import Path

from attrobust.benchmark.command.main import main

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
COLUMNS = re.compile(r"\s{2,}")
Table = dict[tuple[str, str], str]
"""What stands at a method and a metric, without the mark of the best."""


def command() -> list[str]:
    """The words of the README's first command."""
    (line,) = re.findall(r"^.*&& \.venv/bin/python run_benchmark\.py (.*)$", README, flags=re.M)
    return shlex.split(line)


def shown() -> tuple[str, str, Table]:
    """Explainer, attack and numbers of the blocks in the README: accuracies, and those of an attack."""
    (blocks,) = re.findall(r"^```\n(method  .*?)^```", README, flags=re.S | re.M)
    table: Table = {}
    for block in blocks.strip().split("\n\n"):
        header, title, *lines = block.splitlines()
        metrics = [name.rstrip(" ↑↓") for name in COLUMNS.split(header)[1:]]
        for line in lines:
            method, *numbers = COLUMNS.split(line)
            table |= {(method, metric): n.replace(" *", "") for metric, n in zip(metrics, numbers, strict=True)}
    explainer, attack = title.strip("- ").split(", ")
    return explainer, attack, table


def computed(path: Path, explainer: str, attack: str) -> Table:
    """The numbers of one block of a ``leaderboard.csv``, and the accuracies."""
    table: Table = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            here = (row["explainer"], row["attack"]) == (explainer, attack)
            if row["subset"] == "all" and (here or not row["explainer"]):
                interval = f"{row['mean']} [{row['ci_low']}, {row['ci_high']}]"
                table[row["method"], row["metric"]] = interval if row["mean"] else "undefined"
    return table


def reproduce(out: str, further: list[str]) -> int:
    """Run with further options, compare, print; returns the exit code."""
    if code := main([*command(), "--out", out, *further]):
        return code
    explainer, attack, table = shown()
    again = computed(Path(out) / "leaderboard.csv", explainer, attack)
    print(f"\n{explainer}, {attack}\n{'method':<22}{'metric':<18}{'README':<24}{'now':<24}")
    for (method, metric), number in table.items():
        now = again.get((method, metric), "not computed")
        print(f"{method:<22}{metric:<18}{number:<24}{now:<24}{'' if now == number else 'differs'}")
    differing = sum(again.get(place) != number for place, number in table.items())
    print(f"{len(table) - differing} of {len(table)} numbers are those of the README")
    return 1 if differing else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="64", metavar="N", help="how many images are attacked (default: 64)")
    parser.add_argument("--out", default="results/runs/reproduce", metavar="DIR", help="folder of the run")
    options, others = parser.parse_known_args()
    sys.exit(reproduce(options.out, ["--images", options.images, *others]))
