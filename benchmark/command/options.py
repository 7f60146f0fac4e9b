"""The options of the command line. Imports no torch, so that ``--help`` and ``--list`` answer at once."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

from attrobust import __version__
from attrobust.benchmark.store.schema import INTERVALS
from attrobust.naming.file_names import not_a_path
from attrobust.naming.suggest import RENAMED, did_you_mean
from attrobust.numbers import parse_whole
from attrobust.types import UsageError

AXES = ("methods", "explainers", "attacks", "metrics", "datasets", "models", "protocols", "recipes", "checkpoints")
FORMATS = ("csv", "latex", "markdown", "latex-full", "html", "wide", "json", "bibtex")
BY_DEFAULT = ",".join(FORMATS[:3])
EXPORTED = (
    f"tables to write, of {', '.join(FORMATS)}; latex is the verdict, accuracies and worst cases, latex-full has all "
    "blocks, html is a page for the browser, wide a CSV with a line for each row, bibtex the papers, which latex and "
    f"latex-full write too (default: {BY_DEFAULT})"
)
FULL = "print the blocks of every explainer and attack behind the verdict, see docs/reading-the-table.md"
SPEC = re.compile(r"[^-].*:.+=.+")
"""An argument that looks like a spec: left over where a shell has expanded unquoted braces."""

CHOICE, WORD = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)"), r"[\w-]+"
"""What argparse says of an option that takes one of a few words, and each of these."""

EXAMPLES = """examples:
  run_benchmark.py --methods aga,hessian,pgd-at
  run_benchmark.py --methods natural,aga:cosd=0.1 --eps 8/255 --attacks noise,topk:k=100
  run_benchmark.py --methods "natural,aga:cosd={0.1,1,10}"
  run_benchmark.py --methods "natural,aga:cosd={0.1,1,10}" --choose topk --accuracy-floor 95%
  run_benchmark.py --methods natural,aga --explainers "smoothgrad:stdev={0.05,0.1,0.2}" --choose insertion
  run_benchmark.py --dataset imagefolder --data-root photos --image-size 64 --model resnet18 --epochs 5
  run_benchmark.py --checkpoint mine=weights.pt:lenet --methods natural
  run_benchmark.py --methods natural,aga --eps 4/255,8/255,16/255
  run_benchmark.py --methods natural,aga --shard 2/3
  run_benchmark.py --list attacks
  run_benchmark.py --list methods:aga
  run_benchmark.py report results/runs/quick --export html
  run_benchmark.py figures results/runs/quick --only pareto,attacks
  run_benchmark.py gallery results/runs/quick --images 0,worst
  run_benchmark.py verify results/runs/quick
  run_benchmark.py verify results/fashion-v1 --recompute 4
  run_benchmark.py submit results/runs/mine
  run_benchmark.py check mine.py

Names take settings, name:key=value,key=value; numbers may be fractions, 8/255. Values in braces, key={a,b}, stand for
one name each; quote them, or the shell takes them apart. Other commands: report, figures, gallery, verify, submit,
clean, check, publish.
"""


class _Given(argparse.Action):
    """Stores a value; one that says no more than an option that was left out is a mistake, as an unset variable."""

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if option and values == []:
            raise argparse.ArgumentError(self, "-- is no value")  # Which argparse has taken out of ``--out=--``.
        if option and self.default in ("", []) and isinstance(values, str) and not values.strip(" ,"):
            raise argparse.ArgumentError(self, "is empty; name something, or leave it out")
        self.keep(namespace, values)

    def keep(self, namespace: argparse.Namespace, values: Any) -> None:
        """Store the value."""
        setattr(namespace, self.dest, values)


class _Added(_Given):
    """Adds a value to those that an option was given before."""

    def keep(self, namespace: argparse.Namespace, values: Any) -> None:
        """Store the value behind the others."""
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line, and takes no empty values in the place of names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in (None, "store"):
            self.register("action", name, _Given)
        self.register("action", "append", _Added)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage."""
        rest = message.removeprefix("unrecognized arguments: ")
        option = rest.split()[0].removeprefix("--").partition("=")[0] if rest.startswith("--") else ""
        if rest != message and option in RENAMED:
            raise UsageError(f"--{option} is now called --{RENAMED[option]} (see --help)")
        if rest != message and any(SPEC.fullmatch(word) for word in rest.split()):
            message += "; the shell takes key={a,b} apart unless it stands in quotes"
        elif rest != message and option:
            message += f".{did_you_mean(f'--{option}', self._options())}".removesuffix(".")
        if choice := CHOICE.search(message):
            message += f".{did_you_mean(choice[1], re.findall(WORD, choice[2]))}".removesuffix(".")
        raise UsageError(f"{message} (see --help)")

    def _options(self) -> list[str]:
        """All options by their names."""
        return re.findall(r"(?<![\w-])--[a-z][a-z-]*", self.format_usage())


def benchmark_parser() -> Parser:
    """The parser of the main command."""
    parser = Parser(
        prog="run_benchmark.py",
        description="Train or load networks, attack their saliency maps under one threat model, print a leaderboard.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--list",
        nargs="?",
        const="all",
        metavar="AXIS",
        help=f"print what is registered: {', '.join(AXES)}; AXIS:NAME describes one",
    )
    add(
        "--methods",
        metavar="SPECS",
        help="training methods, the rows (default: the protocol's; none with --checkpoint)",
    )
    add(
        "--choose",
        metavar="METRIC[@ATTACK[@EXPLAINER]]",
        help="of every sweep in --methods keep the best on the validation split (default: first attack that is not "
        "noise, first explainer); by a METRIC of maps of clean images, such as insertion, of those in --explainers",
    )
    add(
        "--accuracy-floor",
        metavar="A",
        help="least validation accuracy of what is chosen, 0.9 or 90%% (default: 2 points below the sweep's best)",
    )
    add(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=FILE[:MODEL][:key=KEY]",
        help="a row from your own weights, or NAME=torchvision/NETWORK, timm/NETWORK, robustbench/NETWORK, or "
        "NAME=digits/manipulated-fixed-map",
    )
    add("--protocol", default="quick", metavar="NAME|FILE", help="evaluation settings (default: quick)")
    add("--parts", metavar="NAMES", help="of a protocol with parts, those that are run (default: all)")
    add("--dataset", metavar="SPECS", help="overrides the protocol, as do the next options; several are a sweep")
    add(
        "--data-root",
        type=some_path,
        metavar="DIR",
        help="folder of the dataset (default for downloads: $ATTROBUST_DATA)",
    )
    add("--image-size", type=whole, metavar="N", help="width of the images of an imagefolder")
    add("--model", metavar="SPECS", help="architecture; several are a sweep")
    add("--explainers", metavar="SPECS")
    add("--attacks", metavar="SPECS")
    add("--metrics", metavar="SPECS")
    add(
        "--accuracy-attack",
        metavar="SPEC|none",
        help="attack on the prediction under which accuracy is measured too, in the same ball; none for no such column",
    )
    add(
        "--baselines",
        metavar="NAMES|none",
        help="rows that explain nothing: constant-map, random-map, untrained (default: the protocol's)",
    )
    add("--eps", metavar="E,E", help="radius in pixel units, e.g. 8/255; several are a sweep")
    add("--norm", choices=("linf", "l2"))
    add("--allow-flips", action="store_true", help="attacks may change the prediction (default: the protocol's)")
    add("--images", type=whole, metavar="N", help="how many images of the fixed test list are attacked")
    add("--seeds", metavar="S,S|S-S", help="training seeds, 0,1,2 or 0-2; each is a row")
    add("--recipe", metavar="NAME|FILE", help="training settings (default: the dataset's)")
    add("--epochs", type=whole, metavar="N", help="length of training")
    add("--retrain", action="store_true", help="train instead of using shipped checkpoints")
    add(
        "--strict",
        action="store_true",
        help="stop before anything is computed where an explainer does not suit one of the networks (default: its "
        "cells fail, and the others are computed)",
    )
    add("--no-audit", action="store_true", help="look for no flags beyond those that scores show, see docs/flags.md")
    add("--plugin", action="append", default=[], type=some_path, metavar="FILE.py", help="register your own classes")
    add(
        "--batch-size",
        type=whole,
        metavar="N",
        help="images attacked together (default: 64, or as many as --memory has room for)",
    )
    add(
        "--memory",
        metavar="SIZE",
        help="that a process may take, 4GB or 512MB, on a GPU of its memory: batches are as large as fit, up to 64 "
        "images (default: half of what is free)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:0 or mps (default: auto)")
    add("--out", type=some_path, metavar="DIR", help="folder of the run (default: results/runs/<protocol>[-I-of-N])")
    add("--export", default=BY_DEFAULT, metavar="FORMATS", help=EXPORTED)
    add(
        "--interval",
        choices=INTERVALS,
        default=INTERVALS[0],
        help="over images: the percentile bootstrap, or BCa, which corrects for bias and skew (default: percentile); "
        "accuracies have Wilson's",
    )
    add(
        "--workers",
        metavar="N",
        help="processes that compute, on the CPU or one for each GPU (default: as many as pay, on all cores)",
    )
    add(
        "--shard",
        metavar="I/N",
        help="compute one of N shares, for machines that do not talk to each other; report puts them together",
    )
    add(
        "--executor",
        default="local",
        metavar="local|ray[:ADDRESS]",
        help="where jobs are carried out: here, or on the nodes of a Ray cluster, at most --workers at once "
        "(default: local; see docs/cluster.md)",
    )
    add(
        "--gpus-per-job",
        metavar="N",
        help="GPUs that a job has on a Ray cluster, or a share of one (default: 1 where there are any)",
    )
    add(
        "--keep-images",
        choices=("exact", "none"),
        default="exact",
        help="attacked images stay in the run's folder, so that more metrics need no second attack (default: exact)",
    )
    add("--json", action="store_true", help="print JSON instead of the verdict")
    add("--full", action="store_true", help=FULL)
    add("--dry-run", action="store_true", help="print what would be done, and do nothing")
    add("--version", action="version", version=f"attrobust {__version__}")
    return parser


def some_path(text: str) -> Path:
    """A path; raises ArgumentTypeError for an empty text, as an unset shell variable gives, an address or a bare ~."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a file or folder")
    if problem := not_a_path(text):
        raise argparse.ArgumentTypeError(problem)
    return Path(text)


def positive(text: str) -> int:
    """A whole number above 0; raises ArgumentTypeError for anything else."""
    value = whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return value


def whole(text: str) -> int:
    """A whole number; raises ArgumentTypeError for anything else."""
    try:
        return parse_whole(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def formats_of(text: str) -> list[str]:
    """The export formats in a comma-separated list, with the papers of LaTeX tables.

    Raises:
        UsageError: an unknown one, or one named twice.
    """
    names = text.split(",")
    for name in names:
        if name not in FORMATS:
            raise UsageError(
                f"--export: unknown format {name!r}.{did_you_mean(name, FORMATS)} Use {', '.join(FORMATS)}"
            )
    if len(set(names)) < len(names):
        raise UsageError(f"--export {text!r} names a format twice")
    return [*names, "bibtex"] if any(name.startswith("latex") for name in names) and "bibtex" not in names else names
