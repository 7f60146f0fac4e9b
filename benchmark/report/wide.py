"""Wide CSV: one line for each row of a table, one column for each number, for spreadsheets."""

from __future__ import annotations

import io

import pandas as pd
from pandas import DataFrame

from attrobust.benchmark.report.csv import ROW, SHARED
from attrobust.benchmark.report.csv import names_as_they_are as tidy
from attrobust.benchmark.report.table import Leaderboard
from attrobust.naming.safe import csv_cell

TABLE, PART, COLUMN = "table", "part", "column"
SUFFIXES = {"mean": "", "ci_low": " [low]", "ci_high": " [high]", "seed_error": " [seed error]"}
"""Of the columns of a number, by its column in the tidy CSV."""


def render(*boards: Leaderboard) -> str:
    """Every row of leaderboards over each subset of the images, all its numbers beside each other.

    A number has columns ``saliency, topk, Spearman``, ``saliency, topk, Spearman [low]`` and so on, with the digits of
    the other tables. Accuracies, which are the same over all subsets, stand in each line. Columns that are empty
    everywhere are left out.
    """
    frames = []
    for board in boards:
        frame = pd.read_csv(io.StringIO(tidy(board)), dtype=str, keep_default_na=False)
        frame.insert(0, TABLE, board.where)
        frames.append(frame)
    wide = _wide(pd.concat(frames, ignore_index=True).fillna("")).map(csv_cell)
    return wide.to_csv(index=False, header=[str(csv_cell(name)) for name in wide], lineterminator="\n")


def _wide(tidied: DataFrame) -> DataFrame:
    """Lines of the tidy CSV with as many columns as there are numbers."""
    explainers = tidied["explainer"].where(tidied["scope"] != "", "")
    attacks = tidied["attack"].where(tidied["scope"] != "", "")
    places = zip(explainers, attacks, tidied["metric"], strict=True)
    tidied = tidied.assign(**{COLUMN: [", ".join(filter(None, place)) for place in places]})
    keys = [key for key in (TABLE, *SHARED, PART, *ROW) if key in tidied]
    groups, accuracies = tidied[tidied["scope"] != ""], tidied[tidied["scope"] == ""]
    alone = accuracies[~accuracies[TABLE].isin(groups[TABLE])]
    rows = pd.concat([groups, alone])[keys].drop_duplicates()
    of_each = rows.merge(accuracies.drop(columns="subset"), on=[key for key in keys if key != "subset"], how="left")
    whole = pd.concat([of_each[[*keys, COLUMN, *SUFFIXES]], groups[[*keys, COLUMN, *SUFFIXES]]]).dropna(subset=[COLUMN])
    order = [*whole[COLUMN].drop_duplicates()]
    numbers = whole.pivot(index=keys, columns=COLUMN, values=[*SUFFIXES])
    wide = rows
    for name in order:
        for source, suffix in SUFFIXES.items():
            found = numbers[source, name].fillna("")
            if not suffix or found.ne("").any():
                wide = wide.merge(found.rename(f"{name}{suffix}").reset_index(), on=keys, how="left")
    empty = [key for key in (TABLE, PART) if key in wide and wide[key].eq("").all()]
    return wide.drop(columns=empty)
