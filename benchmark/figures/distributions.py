"""Distributions over images, of which a table has the means."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame

from attrobust.benchmark.figures import choose, style
from attrobust.benchmark.figures.choose import KEY, NothingToDrawError

WHISKERS = (5, 95)
"""Percentiles."""


def distributions(
    scores: DataFrame, *, metric: str | None = None, attack: str | None = None, subset: str = "all"
) -> Figure:
    """A panel for each explainer: a box for each network, over the images.

    A box goes from the lower to the upper quartile, with a line at the median and a marker at the mean; whiskers end at
    the 5th and the 95th percentile. Images without a score under one of the attacks are left out.

    Args:
        scores: of ``attrobust.scores``, one table of it.
        metric: its title; the first metric under attack where none is named.
        attack: the only one that counts; None for the worst score of each image over all attacks.
        subset: ``all`` images, or those ``common`` to all networks.

    Raises:
        NothingToDrawError: nothing was attacked.
        UsageError: scores of several tables.
    """
    choose.need_one_table(scores)
    if subset != "all":
        scores = scores[scores["common"]]
    found = choose.attacked(scores, metric, attack, subset)
    higher = bool(found["higher_is_better"].iloc[0])
    worst = worst_of_each_image(found)
    if worst.empty:
        raise NothingToDrawError("no image has a score under every attack")
    order = worst.groupby("name")["score"].mean().sort_values(ascending=not higher).index
    names = [str(name) for name in order]
    explainers = list(dict.fromkeys(worst["explainer"].astype(str)))
    words = choose.attacks_in_words(found).replace("worst mean over", "each image under the worst of")
    with style.settings():
        figure, axes = style.rows_of_names(explainers, names)
        for axis, explainer in zip(axes, explainers, strict=True):
            here = {str(name): part["score"] for name, part in worst[worst["explainer"] == explainer].groupby("name")}
            drawn = [name for name in names if name in here]
            axis.boxplot(
                [here[name].to_numpy(dtype=np.float64) for name in drawn],
                positions=[names.index(name) for name in drawn],
                orientation="horizontal",
                whis=WHISKERS,
                widths=0.6,
                showfliers=False,
                showmeans=True,
                manage_ticks=False,
                patch_artist=True,
                boxprops={"facecolor": "#CFE3F1", "edgecolor": style.COLOURS[0], "linewidth": 0.8},
                medianprops={"color": style.COLOURS[1], "linewidth": 1.5},
                whiskerprops={"color": style.COLOURS[0], "linewidth": 0.8},
                capprops={"color": style.COLOURS[0], "linewidth": 0.8},
                meanprops={"marker": "D", "markersize": 3, "markerfacecolor": "black", "markeredgecolor": "black"},
            )
            axis.set_xlabel(
                f"{style.plain(found['metric'].iloc[0])} {style.arrow(higher_is_better=higher)}\n{style.plain(words)}"
            )
        first = scores.iloc[0]
        where = f"{first['table']}: " if first["table"] else ""
        threat = f"{first['norm']} {choose.radius(str(first['norm']), float(first['eps']))}"
        style.heading(
            figure,
            f"{where}{first['dataset']}, {threat}, {worst['image'].nunique()} images",
            "box: quartiles and median, whiskers: 5 and 95 %, diamond: mean",
        )
    return figure


def worst_of_each_image(scores: DataFrame) -> DataFrame:
    """Of each network, explainer and image the worst score over all attacks; of one metric.

    Images that lack a score under an attack, of those that have lines for the network and explainer, are left out.
    """
    sign = 1 if scores["higher_is_better"].iloc[0] else -1
    places = ["explainer", *KEY, "name", "image"]
    signed = scores.assign(signed=sign * scores["score"]).groupby(places, dropna=False, observed=True, sort=False)
    # A failed cell has no lines: an image then has a score under fewer attacks than the table has.
    attacks = scores["attack"].nunique()
    found = signed["signed"].agg(["min", "count"]).reset_index()
    found = found[found["count"] == attacks]
    return found.assign(score=sign * found["min"]).drop(columns=["min", "count"])
