"""Attacks compared: what each leaves of the maps of each network."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from attrobust.benchmark.figures import choose, style
from attrobust.benchmark.figures.choose import NothingToDrawError


def attacks(frame: DataFrame, *, metric: str | None = None, subset: str = "all") -> Figure:
    """A panel for each explainer: a line for each network, a marker for each attack at the mean under it.

    Args:
        frame: of ``attrobust.results``, one table of it.
        metric: its title; the first metric under attack where none is named.
        subset: of the images that the metric is over.

    Raises:
        NothingToDrawError: there are not two attacks.
        UsageError: numbers of several tables.
    """
    choose.need_one_table(frame)
    found = choose.attacked(frame, metric, None, subset)
    labels = list(dict.fromkeys(found["attack"].astype(str)))
    if len(labels) < 2:
        raise NothingToDrawError("the run has one attack only; give several, --attacks noise,topk")
    known = style.looks(labels)
    higher = bool(found["higher_is_better"].iloc[0])
    worst = choose.worst_attack(found)
    order = worst.groupby("name")["mean"].mean().sort_values(ascending=not higher).index
    names = [*order, *(name for name in dict.fromkeys(found["name"]) if name not in set(order))]
    explainers = list(dict.fromkeys(found["explainer"].astype(str)))
    with style.settings():
        figure, axes = style.rows_of_names(explainers, names)
        for axis, explainer in zip(axes, explainers, strict=True):
            here = found[(found["explainer"] == explainer) & found["mean"].notna()]
            for label in labels:
                points, look = here[here["attack"] == label], known[label]
                axis.plot(
                    points["mean"],
                    [names.index(name) for name in points["name"]],
                    color=look.colour,
                    marker=look.marker,
                    markersize=4.5,
                    linestyle="",
                    label=label,
                )
            axis.set_xlabel(f"{style.plain(found['metric'].iloc[0])} {style.arrow(higher_is_better=higher)}")
        entries = [
            (label, Line2D([], [], color=look.colour, marker=look.marker, markersize=4.5, linestyle=""))
            for label, look in known.items()
        ]
        style.legend(figure, entries, title="mean under")
        style.heading(figure, choose.about(found, subset))
    return figure
