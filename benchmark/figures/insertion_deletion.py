"""Insertion and deletion of clean maps: areas under the curves, since runs do not store the curves."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from attrobust.benchmark.figures import choose, style
from attrobust.benchmark.figures.choose import NothingToDrawError

NAMES = ("insertion", "deletion")


def insertion_deletion(frame: DataFrame, *, subset: str = "all") -> Figure:
    """A panel for each explainer: the areas under the insertion and the deletion curve of each network, and intervals.

    The curves themselves are not stored. Other settings of the two metrics are markers of their own.

    Args:
        frame: of ``attrobust.results``, one table of it.
        subset: of the images.

    Raises:
        NothingToDrawError: neither was measured.
        UsageError: numbers of several tables.
    """
    choose.need_one_table(frame)
    named = frame["metric"].astype(str).str.startswith(NAMES)
    found = choose.networks(frame[(frame["scope"] == "map") & named & (frame["subset"] == subset)])
    found = found[found["mean"].notna()]
    if found.empty:
        raise NothingToDrawError("neither was measured; add --metrics insertion,deletion")
    metrics = list(dict.fromkeys(found["metric"].astype(str)))
    known = style.looks(metrics)
    pointing = dict(zip(found["metric"].astype(str), found["higher_is_better"], strict=True))
    first = found[found["metric"] == metrics[0]].groupby("name")["mean"].mean()
    names = [str(name) for name in first.sort_values(ascending=not pointing[metrics[0]]).index]
    names += [name for name in dict.fromkeys(found["name"]) if name not in names]
    explainers = list(dict.fromkeys(found["explainer"].astype(str)))
    with style.settings():
        figure, axes = style.rows_of_names(explainers, names)
        for axis, explainer in zip(axes, explainers, strict=True):
            for metric in metrics:
                points, look = found[(found["explainer"] == explainer) & (found["metric"] == metric)], known[metric]
                axis.errorbar(
                    points["mean"].to_numpy(dtype=np.float64),
                    [names.index(name) for name in points["name"]],
                    xerr=choose.interval(points),
                    color=look.colour,
                    marker=look.marker,
                    markersize=4,
                    linestyle="",
                    ecolor=(look.colour, 0.5),
                    elinewidth=0.9,
                    label=metric,
                )
            axis.set_xlabel("area under the curve\n(curves are not stored)")
        entries = [
            (
                f"{metric} {style.arrow(higher_is_better=bool(pointing[metric]))}",
                Line2D([], [], color=look.colour, marker=look.marker, markersize=4, linestyle=""),
            )
            for metric, look in known.items()
        ]
        style.legend(figure, entries)
        style.heading(figure, choose.about(found, subset))
    return figure
