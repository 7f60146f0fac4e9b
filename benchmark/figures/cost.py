"""Cost of training against robustness."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from pandas import DataFrame

from attrobust.benchmark.figures import choose
from attrobust.benchmark.figures.choose import NothingToDrawError
from attrobust.benchmark.figures.pareto import scatter

PASSES = "training_passes"


def cost(frame: DataFrame, *, metric: str | None = None, attack: str | None = None, subset: str = "all") -> Figure:
    """A panel for each explainer: passes of the training across, a metric under attack upwards, networks as markers.

    The line joins the networks that no other is both as cheap and as robust as, and better in one of these. Networks
    whose cost is unknown are left out.

    Args:
        frame: of ``with_training_passes``, one table of it.
        metric: its title; the first metric under attack where none is named.
        attack: the only one that counts; None for the worst mean over all attacks.
        subset: of the images that the metric is over.

    Raises:
        NothingToDrawError: nothing was attacked, or the cost of no network is known.
        UsageError: numbers of several tables.
    """
    choose.need_one_table(frame)
    found = choose.attacked(frame, metric, attack, subset)
    points = choose.worst_attack(found).dropna(subset=[PASSES, "mean"])
    if points.empty:
        raise NothingToDrawError("it is not known how any of the networks was trained")
    figure = scatter(points, found, PASSES, "training: passes of each image ↓", -1, subset)
    for axis in figure.axes:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.xaxis.set_minor_locator(NullLocator())
    return figure
