"""Agreement between metrics: whether they put the networks in the same order."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame

from attrobust.benchmark.figures import choose, style
from attrobust.benchmark.figures.choose import NothingToDrawError

LEAST = 3
"""Networks that have an order worth comparing."""


def agreement(frame: DataFrame, *, attack: str | None = None, subset: str = "all") -> Figure:
    """A panel for each explainer: Kendall's tau-b of the orders in which two metrics put the networks, from best.

    1 is the same order, -1 the opposite one, whichever way the metrics point. A pair is blank where a metric has no
    order, being the same for all. Accuracies, metrics of clean maps and of networks stand beside those under attack.

    Args:
        frame: of ``attrobust.results``, one table of it.
        attack: the only one that counts; None for the worst mean over all attacks.
        subset: of the images; accuracies are over all that they were measured on.

    Raises:
        NothingToDrawError: there are not two metrics, or not three networks.
        UsageError: numbers of several tables.
    """
    choose.need_one_table(frame)
    orders = {explainer: kendall(oriented(frame, explainer, attack, subset)) for explainer in _explainers(frame)}
    orders = {explainer: found for explainer, found in orders.items() if len(found) > 1}
    if not orders:
        raise NothingToDrawError(f"there are not two metrics with numbers of at least {LEAST} networks")
    size = 1.6 + 0.36 * max(map(len, orders.values()))
    with style.settings(grid=False):
        figure, axes = style.panels(list(orders), width=size + 0.4, height=size)
        for axis, found in zip(axes, orders.values(), strict=True):
            values = found.to_numpy(dtype=np.float64)
            image = axis.imshow(values, cmap="PuOr", vmin=-1, vmax=1)
            names = [style.plain(str(name), 24) for name in found.columns]
            axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    dark = abs(value) > 0.6
                    words = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
                    axis.text(column, row, words, ha="center", va="center", fontsize=6, color="w" if dark else "k")
        figure.colorbar(image, ax=axes, label="Kendall's tau-b", shrink=0.8)
        shown = choose.networks(frame[(frame["scope"] != "") & (frame["subset"] == subset)])
        under = shown[(shown["scope"] == "attack") & ((shown["attack"] == attack) if attack else True)]
        words = f"; {choose.attacks_in_words(under)}" if len(under) else ""
        style.heading(figure, f"{choose.about(shown, subset)}; {shown['name'].nunique()} networks{words}")
    return figure


def oriented(frame: DataFrame, explainer: str, attack: str | None, subset: str) -> DataFrame:
    """A line for each network and a column for each metric that an explainer has, larger being better in all."""
    chosen = frame[(frame["subset"] == subset) | (frame["scope"] == "")]
    chosen = choose.networks(chosen[chosen["explainer"].isin(["", explainer])])
    if attack is not None:
        chosen = chosen[(chosen["scope"] != "attack") | (chosen["attack"] == attack)]
    columns = {}
    for (scope, metric), numbers in chosen.groupby(["scope", "metric"], sort=False):
        line = choose.worst_attack(numbers) if scope == "attack" else numbers
        sign = 1 if line["higher_is_better"].all() else -1
        columns[str(metric)] = (sign * line.set_index("name")["mean"]).groupby(level=0, sort=False).first()
    return DataFrame(columns)


def kendall(numbers: DataFrame) -> DataFrame:
    """Kendall's tau-b between the columns, over lines that both have; columns of fewer than three are left out."""
    kept = numbers.loc[:, numbers.notna().sum() >= LEAST]
    return kept.corr(method="kendall", min_periods=LEAST)


def _explainers(frame: DataFrame) -> list[str]:
    return [str(name) for name in dict.fromkeys(frame["explainer"]) if name]
