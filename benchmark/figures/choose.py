"""What a figure shows of a frame: which networks, which metric, which attack."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from attrobust.arrays import Floats
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

KEY = ["method", "seed", "checkpoint"]
"""What tells networks of a table apart; of a method over its seeds, seed and checkpoint are missing."""
EPS = re.compile(r"(^|, )eps [^,]+")


class NothingToDrawError(UsageError):
    """A run has nothing that a figure could show; says what is missing."""


def need_one_table(frame: DataFrame) -> None:
    """Raise UsageError where numbers of several tables of a sweep would be mixed."""
    tables = list(dict.fromkeys(frame["table"].astype(str)))
    if len(tables) > 1:
        shown = ", ".join(map(repr, tables))
        raise UsageError(
            f"the frame has {len(tables)} tables ({shown}); choose one: frame[frame.table == {tables[0]!r}]"
        )


def apart_from_eps(frame: DataFrame) -> Series[str]:
    """What tells the tables of a sweep apart beside their radii."""
    return frame["table"].astype(str).map(lambda where: EPS.sub("", where).removeprefix(", "))


def networks(frame: DataFrame) -> DataFrame:
    """The lines that are compared, with what figures call them in a column ``name``.

    Baselines are left out, and the seeds of a method of which there is a mean over seeds.
    """
    found = frame[~frame["baseline"]]
    if "seeds" in found:
        averaged = set(found.loc[found["seeds"].notna(), "method"])
        found = found[~found["method"].isin(averaged) | (found["seed"].isna() & (found["checkpoint"] == ""))]
    return found.assign(name=_names(found))


def _names(frame: DataFrame) -> Series[str]:
    """The method, with its seed and its weights where these tell networks apart."""
    known = frame[KEY].drop_duplicates()
    names = {}
    for method, same in known.groupby("method", observed=True):
        seeds, several = same["seed"].nunique(dropna=False), len(same) > 1
        for seed, checkpoint in zip(same["seed"], same["checkpoint"], strict=True):
            told = [f"seed {seed}"] if several and seeds > 1 and not pd.isna(seed) else []
            told += [str(checkpoint)[:8]] if several and seeds < len(same) and checkpoint else []
            names[_key(method, seed, checkpoint)] = f"{method} ({', '.join(told)})" if told else str(method)
    return Series(
        [names[_key(*line)] for line in zip(*(frame[column] for column in KEY), strict=True)],
        index=frame.index,
        dtype="str",
    )


def _key(method: object, seed: object, checkpoint: object) -> tuple[str, str, str]:
    return str(method), str(seed), str(checkpoint)


def metrics_of(frame: DataFrame, scope: str = "attack") -> list[str]:
    """The metrics of a scope, in the order of the table."""
    return list(dict.fromkeys(frame.loc[frame["scope"] == scope, "metric"].astype(str)))


def metric_of(frame: DataFrame, metric: str | None) -> str:
    """A metric under attack by its title, with or without its unit; the first where none is named.

    Raises:
        NothingToDrawError: nothing was attacked, or the frame has no such metric.
    """
    known = metrics_of(frame)
    if not known:
        raise NothingToDrawError("no metric was computed under an attack")
    if metric is None:
        return known[0]
    for title in known:
        if metric.casefold() in (title.casefold(), title.removesuffix(" (%)").casefold()):
            return title
    near = did_you_mean(metric, [*known, *(title.removesuffix(" (%)") for title in known)])
    raise NothingToDrawError(f"no metric {metric!r} under an attack.{near} There is {', '.join(map(repr, known))}")


def attacked(frame: DataFrame, metric: str | None, attack: str | None, subset: str) -> DataFrame:
    """The networks' numbers of one metric under attacks.

    Args:
        frame: of one table.
        metric: see ``metric_of``.
        attack: the only one; None for all.
        subset: of the images.

    Raises:
        NothingToDrawError: there are none.
    """
    title = metric_of(frame, metric)
    chosen = (frame["scope"] == "attack") & (frame["metric"] == title)
    if attack is not None:
        if attack not in set(frame.loc[chosen, "attack"]):
            known = [*dict.fromkeys(frame.loc[chosen, "attack"].astype(str))]
            listed = ", ".join(map(repr, known))
            raise NothingToDrawError(f"no attack {attack!r}.{did_you_mean(attack, known)} There is {listed}")
        chosen &= frame["attack"] == attack
    if "subset" in frame:
        chosen &= frame["subset"] == subset
    found = networks(frame[chosen])
    values = found["mean"] if "mean" in found else found["score"]
    if values.notna().sum() == 0:
        raise NothingToDrawError(f"no network has a number for {title} over the subset {subset!r} of the images")
    return found


def worst_attack(frame: DataFrame) -> DataFrame:
    """Of each network and explainer the line of the attack under which its mean is worst; of one metric.

    A network lacks a line where one of its attacks has no number: its worst one is not known.
    """
    if frame.empty:
        return frame
    frame = frame.reset_index(drop=True)
    signed = frame["mean"] if frame["higher_is_better"].iloc[0] else -frame["mean"]
    places = ["table", "explainer", *KEY]
    lacking = signed.isna().groupby([frame[place] for place in places], dropna=False, observed=True).transform("any")
    from_worst = signed[~lacking].sort_values(kind="stable").index
    return frame.loc[from_worst].drop_duplicates(places).sort_index()


def attacks_in_words(frame: DataFrame) -> str:
    """Over which attacks the worst was taken."""
    attacks: Sequence[str] = list(dict.fromkeys(frame["attack"].astype(str)))
    return f"under {attacks[0]}" if len(attacks) == 1 else f"worst mean over {len(attacks)} attacks"


def interval(points: DataFrame, value: str = "mean", low: str = "ci_low", high: str = "ci_high") -> Floats:
    """Lengths of the intervals below and above N numbers, 2×N; 0 where there is none.

    An end that lies on the other side of its number, as rounding may bring about, has length 0.
    """
    numbers, lows, highs = (points[column].to_numpy(dtype=np.float64) for column in (value, low, high))
    return np.nan_to_num(np.maximum([numbers - lows, highs - numbers], 0.0))


def radius(norm: str, eps: float) -> str:
    """A radius as it is typed: in 255ths where it is some and the norm is linf."""
    steps = round(eps * 255)
    return f"{steps}/255" if norm == "linf" and steps and abs(steps / 255 - eps) < 1e-9 else f"{eps:.4g}"


def about(frame: DataFrame, subset: str) -> str:
    """Dataset, threat and images of a table, for the head of a figure."""
    first = frame.iloc[0]
    images = frame["images"].dropna()
    count = f"{int(images.max())} images" if len(images) else "images"
    which = count if subset == "all" else f"{count} that every network classifies correctly"
    where = f"{first['table']}: " if first["table"] else ""
    return f"{where}{first['dataset']}, {first['threat']}, {which}"
