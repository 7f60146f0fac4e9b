"""The parsers of the commands beside a run, ``report``, ``figures``, ``verify`` and so on. No torch."""

from __future__ import annotations

from pathlib import Path

from attrobust.benchmark.command.options import BY_DEFAULT, EXPORTED, FULL, Parser, positive, some_path, whole
from attrobust.benchmark.report.view.style import INTERVALS as INTERVAL_STYLES
from attrobust.benchmark.store.schema import INTERVALS

RENAME = (
    "another name for the row, explainer, attack or metric that is called exactly so; KIND, one of row, explainer, "
    "attack and metric, says which where several are"
)


def report_parser() -> Parser:
    """The parser of ``report``, which writes tables from rows on disk."""
    parser = Parser(
        prog="run_benchmark.py report", description="Write the tables of finished runs again.", allow_abbrev=False
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|NAME=RUN",
        help="folders of runs with the same protocol, or of all shards of a run; named, they may also differ in "
        "radius, model and dataset",
    )
    parser.add_argument("--export", default=BY_DEFAULT, metavar="FORMATS", help=EXPORTED)
    parser.add_argument(
        "--out",
        type=some_path,
        metavar="DIR",
        help="where to write (default: the run itself, where there is one; of a view RUN/views/NAME)",
    )
    parser.add_argument("--interval", choices=INTERVALS, help="over images (default: the run's)")
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="with --export html: draw the worst images behind each number and put them into the page, as far as the "
        "run has kept its attacked images",
    )
    parser.add_argument("--data-root", type=some_path, metavar="DIR", help="folder that a dataset is read from")
    parser.add_argument(
        "--plugin", action="append", type=some_path, default=[], metavar="FILE.py", help="that the run was made with"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the verdict")
    parser.add_argument("--full", action="store_true", help=FULL)
    _add_view(parser)
    return parser


def _add_view(parser: Parser) -> None:
    """The options of a part of a table, or of another form of it."""
    view = parser.add_argument_group("views", "A part of a table, or another form of it (see docs/tables.md).")
    add = view.add_argument
    add("--rows", default="", metavar="NAMES", help="rows, in this order")
    add("--explainers", default="", metavar="NAMES", help="blocks, in this order")
    add("--attacks", default="", metavar="NAMES", help="blocks, in this order")
    add("--metrics", default="", metavar="NAMES", help="columns, in this order, beside accuracies")
    add("--columns", default="", metavar="TITLES", help="columns, in this order, accuracies among them")
    add("--subset", default="", choices=("all", "common"), help="of the images (default: both)")
    add("--digits", default="", metavar="N,COLUMN=N", help="after the decimal point, of all columns or of one")
    add("--intervals", choices=INTERVAL_STYLES, help="[low, high], ± the larger side, or none (default: small)")
    add("--second-best", action="store_true", help="the LaTeX underlines the next rank after the best")
    add("--transpose", action="store_true", help="methods are columns of the LaTeX")
    add("--rename", action="append", default=[], metavar="[KIND:]OLD=NEW", help=RENAME)
    add("--two-column", action="store_true", help="the LaTeX is for an article of two columns")
    add("--label", default="", metavar="LABEL", help="of the LaTeX (default: made of the run)")
    add("--caption", default="", metavar="LATEX", help="of the LaTeX; what it said stands below the table then")
    add("--name", default="", metavar="NAME", help="of the view (default: made of these options)")


def figures_parser() -> Parser:
    """The parser of ``figures``, which draws finished runs."""
    parser = Parser(
        prog="run_benchmark.py figures",
        description="Draw finished runs: robustness against accuracy (pareto), against the radius (eps), over images "
        "(distributions), under each attack (attacks), agreement of metrics (agreement), insertion and deletion "
        "(insertion-deletion), and cost of training (cost). Exit codes: 0 written, 1 there was nothing to draw, 2 a "
        "mistake in what was typed.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=some_path, metavar="RUN", help="folders of runs, sweeps or boards")
    parser.add_argument("--only", default="", metavar="NAME,...", help="some figures by name (default: all)")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="TITLE",
        help="under attack, as in the table, e.g. 'top-10%%'; may be given again (default: the first of the table)",
    )
    parser.add_argument(
        "--subset", choices=("all", "common"), default="all", help="of the images, as in the table (default: all)"
    )
    parser.add_argument("--out", type=some_path, metavar="DIR", help="where to write (default: RUN/figures)")
    parser.add_argument("--format", default="png,pdf", metavar="FORMATS", help="of png and pdf (default: both)")
    return parser


def gallery_parser() -> Parser:
    """The parser of ``gallery``, which draws attacked images and their maps."""
    parser = Parser(
        prog="run_benchmark.py gallery",
        description="Draw images of a finished run before and after an attack, ten times their difference, both maps "
        "and what these scored. Attacked images are those that the run kept; where it kept none they are attacked "
        "again from weights, and a score that does not come out again is marked. Exit codes: 0 written, 1 there was "
        "nothing to draw, 2 a mistake in what was typed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=some_path, metavar="RUN", help="folder of a run, a sweep or a board")
    add("--methods", default="", metavar="NAMES", help="rows of the table (default: all but baselines)")
    add("--explainers", default="", metavar="NAMES", help="(default: the first of the table)")
    add("--attacks", default="", metavar="NAMES", help="(default: the first of the table that is not noise)")
    add("--eps", default="", metavar="E,E", help="of a sweep, e.g. 8/255 (default: all)")
    add(
        "--images",
        default="0,1,2,worst,median",
        metavar="LIST",
        help="positions in the list of images from 0, ranges 0-4, and each network's worst and median image (default: "
        "0,1,2,worst,median)",
    )
    add(
        "--metric",
        default="",
        metavar="NAME",
        help="by which the worst and the median image are found, e.g. topk:k=10%% (default: the first of the table)",
    )
    add(
        "--by",
        choices=("image", "method"),
        default="image",
        help="a file for each image with a row for each method, or the other way round (default: image)",
    )
    add("--out", type=some_path, metavar="DIR", help="where to write (default: RUN/gallery)")
    add("--format", default="png,pdf", metavar="FORMATS", help="of png and pdf (default: both)")
    add("--data-root", type=some_path, metavar="DIR", help="folder that a dataset is read from")
    add("--plugin", action="append", type=some_path, default=[], metavar="FILE.py", help="that the run was made with")
    return parser


def verify_parser() -> Parser:
    """The parser of ``verify``, which checks rows against the per-image scores they summarise."""
    parser = Parser(
        prog="run_benchmark.py verify",
        description="Recompute every stored number from its per-image scores and check every hash.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=some_path, metavar="RUN", help="folders of runs, sweeps or boards")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="set damaged files and lines aside in RUN/damaged; the run's command computes them again",
    )
    parser.add_argument(
        "--recompute",
        type=positive,
        metavar="N",
        help="also compute N cells again from weights with the present code: always the same ones, spread over "
        "networks, explainers and attacks",
    )
    parser.add_argument("--images", type=positive, metavar="N", help="of each of these cells (default: 8)")
    parser.add_argument(
        "--stronger",
        type=some_path,
        metavar="FILE.npz",
        help="attacked images that are stronger than what is published: the worst of each image is kept in a new row "
        "(see docs/boards.md)",
    )
    parser.add_argument("--by", default="", metavar="NAME", help="who found the images of --stronger")
    parser.add_argument("--data-root", type=some_path, metavar="DIR", help="folder that a dataset is read from")
    parser.add_argument(
        "--plugin", action="append", type=some_path, default=[], metavar="FILE.py", help="that the rows were made with"
    )
    return parser


def submit_parser() -> Parser:
    """The parser of ``submit``, which packs a run for a pull request."""
    parser = Parser(
        prog="run_benchmark.py submit",
        description="Pack a finished run for a pull request: say which board it fits, compute a sample again, and copy "
        "rows, scores, weights, cards and plug-in files. Exit codes: 0 packed, 1 it fits no board or does not come out "
        "again, 2 a mistake in what was typed.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=some_path, metavar="RUN", help="folder of a finished run or sweep")
    parser.add_argument(
        "--to", type=some_path, metavar="FOLDER", help="an empty folder (default: results/submissions/RUN)"
    )
    parser.add_argument(
        "--results",
        type=some_path,
        default=Path("results"),
        metavar="DIR",
        help="folder of the boards (default: results)",
    )
    parser.add_argument("--by", default="", metavar="NAME", help="who hands it in")
    parser.add_argument(
        "--as-board",
        default="",
        metavar="NAME",
        help="for maintainers: make a board of the run in --results, or let the board of that name grow, where no "
        "published number moves",
    )
    parser.add_argument(
        "--recompute", type=positive, default=4, metavar="N", help="cells that are computed again (default: 4)"
    )
    parser.add_argument("--images", type=positive, metavar="N", help="of each of these cells (default: 8)")
    parser.add_argument("--data-root", type=some_path, metavar="DIR", help="folder that a dataset is read from")
    parser.add_argument(
        "--plugin",
        action="append",
        type=some_path,
        default=[],
        metavar="FILE.py",
        help="that the run was made with (default: where the run's command says it is)",
    )
    return parser


def clean_parser() -> Parser:
    """The parser of ``clean``, which removes what a run can compute again."""
    parser = Parser(
        prog="run_benchmark.py clean",
        description="Remove the attacked images of finished runs. Tables, rows, scores and weights stay; metrics that "
        "are added later need the attacks again.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=some_path, metavar="RUN")
    return parser


def check_parser() -> Parser:
    """The parser of ``check``, which tries the contract of its axis on somebody's class."""
    parser = Parser(
        prog="run_benchmark.py check",
        description="Try everything that is claimed of methods, explainers, attacks, metrics, datasets and models on "
        "your classes, on real digits, and print each claim with what is wrong and where. Exit codes: 0 all claims "
        "hold, 1 some do not, 2 a file does not run.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "targets", nargs="+", metavar="FILE.py", help="plug-in files; or registered classes, e.g. methods:aga"
    )
    parser.add_argument("--data-root", type=some_path, metavar="DIR", help="folder that a dataset is read from")
    return parser


def publish_parser() -> Parser:
    """The parser of ``publish``, by which maintainers add weights to those that come with attrobust."""
    parser = Parser(
        prog="run_benchmark.py publish",
        description="Write the weights that runs have trained in half precision, with cards that have their test "
        "accuracy, where --list checkpoints and later runs find them. Published again, the same weights stay as they "
        "are. Exit codes: 0 all are published, 1 some were refused.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="+", type=some_path, metavar="RUN", help="folders of runs")
    add("--methods", metavar="NAMES", help="publish those of some methods only (default: all)")
    add("--data-root", type=some_path, metavar="DIR", help="folder of the dataset (default: $ATTROBUST_DATA)")
    add(
        "--commit",
        metavar="REV",
        help="commit that trained the weights; its training sources are compared with the digest in their cards "
        "(default: HEAD, or unknown where that did not train them)",
    )
    add("--replace", action="store_true", help="replace other weights of the same name, as a new version")
    add("--suffix", default="", metavar="TEXT", help="added to names, to tell apart weights of other models or recipes")
    add("--under", default="", metavar="NAME", help="first part of names (default: the dataset's name)")
    add("--to", type=some_path, metavar="DIR", help="folder of the cards (default: the package's own)")
    add("--url", default="", metavar="URL", help="where weight files will be downloaded from")
    add("--largest", type=whole, default=500_000, metavar="BYTES", help="size from which on files need --url")
    add("--files", type=some_path, metavar="DIR", help="with --url, folder that the weight files are written into")
    return parser
