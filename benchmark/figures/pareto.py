"""Robustness against accuracy, with the networks that no other beats in both."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from attrobust.arrays import Booleans, Floats
from attrobust.benchmark.figures import choose, style
from attrobust.benchmark.figures.choose import KEY, NothingToDrawError

MANY = 12
"""Networks from which on intervals are drawn more faintly."""


def pareto_front(x: Floats, y: Floats) -> Booleans:
    """Which points no other point beats: is at least as large in both coordinates and larger in one.

    Args:
        x, y: N coordinates each, finite; of equal points all or none are on the front.
    """
    beaten = (x[:, None] <= x) & (y[:, None] <= y) & ((x[:, None] < x) | (y[:, None] < y))
    front: Booleans = np.asarray(~beaten.any(axis=1), dtype=np.bool_)
    return front


def pareto(frame: DataFrame, *, metric: str | None = None, attack: str | None = None, subset: str = "all") -> Figure:
    """A panel for each explainer: clean accuracy across, a metric under attack upwards, a marker for each network.

    Bars are intervals as in the table. The line joins the Pareto front, whose names are bold in the legend. Networks
    that are not ranked or are flagged are hollow, and not on the front.

    Args:
        frame: of ``attrobust.results``, one table of it.
        metric: its title; the first metric under attack where none is named.
        attack: the only one that counts; None for the worst mean over all attacks.
        subset: of the images that the metric is over.

    Raises:
        NothingToDrawError: nothing was attacked, or no network has both numbers.
        UsageError: numbers of several tables.
    """
    choose.need_one_table(frame)
    found = choose.attacked(frame, metric, attack, subset)
    points = with_accuracy(frame, choose.worst_attack(found))
    if points.empty:
        raise NothingToDrawError("no network has both an accuracy and a number under every attack")
    return scatter(points, found, "accuracy", f"{points['accuracy_metric'].iloc[0]} ↑", 1, subset)


def with_accuracy(frame: DataFrame, points: DataFrame) -> DataFrame:
    """Numbers under attack beside the clean accuracies of their networks; those without one are left out."""
    accuracies = frame[(frame["scope"] == "") & (frame["attack"] == "") & frame["mean"].notna()]
    columns = {"mean": "accuracy", "ci_low": "accuracy_low", "ci_high": "accuracy_high", "metric": "accuracy_metric"}
    return points.merge(accuracies[[*KEY, *columns]].rename(columns=columns), on=KEY, how="inner")


def scatter(points: DataFrame, found: DataFrame, across: str, label: str, sign: int, subset: str) -> Figure:
    """Networks by two numbers, the better to the top, with the front of both.

    Args:
        points: a line for each network and explainer.
        found: the numbers of which ``points`` are the worst.
        across: column of the x axis; ``<across>_low`` and ``<across>_high`` are its interval where they are there.
        label: of the x axis.
        sign: 1 where a larger x is better, -1 where a smaller one is.
        subset: of the images.
    """
    higher = bool(points["higher_is_better"].iloc[0])
    names = list(dict.fromkeys(found["name"]))
    known = style.looks(names)
    explainers = list(dict.fromkeys(points["explainer"].astype(str)))
    on_front: set[str] = set()
    with style.settings():
        figure, axes = style.panels(explainers, least=style.height_of_legend(len(names) + 2))
        for axis, explainer in zip(axes, explainers, strict=True):
            on_front |= _panel(axis, points[points["explainer"] == explainer], across, sign, known)
            axis.set_xlabel(label)
            if not higher:
                axis.invert_yaxis()
        title = f"{style.plain(found['metric'].iloc[0])} {style.arrow(higher_is_better=higher)}"
        axes[0].set_ylabel(f"{title}\n{style.plain(choose.attacks_in_words(found))}")
        drawn = set(points["name"])
        entries = [
            (name, Line2D([], [], color=look.colour, marker=look.marker, linestyle="", markersize=5))
            for name, look in known.items()
            if name in drawn
        ]
        style.legend(figure, entries, bold=on_front, title="bold: on a Pareto front\nhollow: flagged or unranked")
        style.heading(figure, choose.about(found, subset))
    return figure


def _panel(axis: Axes, points: DataFrame, across: str, sign: int, known: dict[str, style.Look]) -> set[str]:
    """Draw the networks of one explainer; returns the names of those on the front."""
    upwards = 1 if points["higher_is_better"].iloc[0] else -1
    trusted = points[points["rank"].notna() & (points["flags"] == "")]
    x, y = (trusted[column].to_numpy(dtype=np.float64) for column in (across, "mean"))
    front = trusted[pareto_front(sign * x, upwards * y)].sort_values(by=[across, "mean"])
    axis.plot(front[across], front["mean"], color=style.GREY, linewidth=1, linestyle="--", zorder=1, label="front")
    faint = 0.3 if len(points) <= MANY else 0.15
    for name, point in points.groupby("name", sort=False):
        look = known[str(name)]
        hollow = point["rank"].isna().any() or (point["flags"] != "").any()
        ends = (across, f"{across}_low", f"{across}_high")
        axis.errorbar(
            point[across].to_numpy(dtype=np.float64),
            point["mean"].to_numpy(dtype=np.float64),
            yerr=choose.interval(point),
            xerr=choose.interval(point, *ends) if set(ends) <= set(point) else None,
            color=look.colour,
            marker=look.marker,
            markerfacecolor="white" if hollow else look.colour,
            markersize=5,
            ecolor=(look.colour, faint),
            elinewidth=0.8,
            label=str(name),
        )
    return set(front["name"])
