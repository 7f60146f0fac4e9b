"""Similarity against the radius of the threat, of a sweep over radii."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from attrobust.benchmark.figures import choose, style
from attrobust.benchmark.figures.choose import NothingToDrawError
from attrobust.types import UsageError


def radii(frame: DataFrame, *, metric: str | None = None, attack: str | None = None, subset: str = "all") -> Figure:
    """A panel for each explainer: eps across, a metric under attack upwards, a line for each network.

    Bars are intervals as in the table. eps is in pixels, for the norm linf in steps of 1/255.

    Args:
        frame: of ``attrobust.results``, tables that differ in eps only.
        metric: its title; the first metric under attack where none is named.
        attack: the only one that counts; None for the worst mean over all attacks, of each radius by itself.
        subset: of the images that the metric is over.

    Raises:
        NothingToDrawError: there are not two radii, or nothing was attacked.
        UsageError: tables that differ in more.
    """
    others = list(dict.fromkeys(choose.apart_from_eps(frame)))
    if len(others) > 1:
        raise UsageError(f"the frame has tables that differ in more than eps ({', '.join(map(repr, others))}); choose")
    found = choose.attacked(frame, metric, attack, subset)
    if found["eps"].nunique() < 2:
        raise NothingToDrawError("the run has one eps only; give several, --eps 4/255,8/255")
    points = choose.worst_attack(found).dropna(subset=["mean", "eps"]).sort_values("eps", kind="stable")
    if points.empty:
        raise NothingToDrawError("no network has a number under every attack")
    names = list(dict.fromkeys(found["name"]))
    known = style.looks(names)
    explainers = list(dict.fromkeys(found["explainer"].astype(str)))
    scale = 255 if set(found["norm"].astype(str)) == {"linf"} else 1
    higher = bool(found["higher_is_better"].iloc[0])
    with style.settings():
        figure, axes = style.panels(explainers, least=style.height_of_legend(len(names)))
        for axis, explainer in zip(axes, explainers, strict=True):
            here = points[points["explainer"] == explainer]
            for name, line in here.groupby("name", sort=False):
                look = known[str(name)]
                axis.errorbar(
                    line["eps"].to_numpy(dtype=np.float64) * scale,
                    line["mean"].to_numpy(dtype=np.float64),
                    yerr=choose.interval(line),
                    color=look.colour,
                    marker=look.marker,
                    markersize=4,
                    linewidth=1.2,
                    ecolor=(look.colour, 0.3),
                    elinewidth=0.8,
                    label=str(name),
                )
            axis.set_xticks(sorted({float(value) * scale for value in found["eps"]}))
            axis.set_xlabel("eps (linf, in 1/255)" if scale == 255 else f"eps ({style.plain(found['norm'].iloc[0])})")
        title = f"{style.plain(found['metric'].iloc[0])} {style.arrow(higher_is_better=higher)}"
        axes[0].set_ylabel(f"{title}\n{style.plain(choose.attacks_in_words(found))}")
        last = points[points["eps"] == points["eps"].max()].groupby("name")["mean"].mean()
        order = sorted(names, key=lambda name: -float(last.get(name, -np.inf)))
        entries = [(name, _handle(known[name])) for name in order]
        style.legend(figure, entries, title="in order at the largest eps")
        style.heading(figure, f"{found['dataset'].iloc[0]}, {int(found['images'].max())} images")
    return figure


def _handle(look: style.Look) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=4, linewidth=1.2)
