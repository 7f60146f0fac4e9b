"""What the files of a run hold: the shape of their JSON, by which damage and the work of other versions are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SCHEMA = 2
"""Raised with every change of what is stored or of what it means."""
INTERVALS = ("percentile", "bca")
"""How intervals over images may be computed, the first unless asked otherwise."""

SCOPES = ("attack", "map", "network", "training")
"""What metrics belong to, in the order of the tables."""

NUMBER = (int, float, type(None))
COUNT, TEXT = (int,), (str,)
FACTS = {
    "label": TEXT,
    "title": TEXT,
    "higher_is_better": (bool,),
    "scale": (int, float),
    "decimals": COUNT,
    "unit": (bool,),
}
"""What tables have to know of a metric."""
TRIAL = {"seed": (int, type(None)), "sha256": TEXT, "accuracy": TEXT, "score": TEXT}
CANDIDATE = {"label": TEXT, "trials": [TRIAL], "accuracy": NUMBER, "score": NUMBER, "problem": TEXT}
PLAN = {
    "schema": {SCHEMA},
    "comparison": {
        **dict.fromkeys(("protocol", "dataset", "model", "threat", "label", "reduction", "data_sha256"), TEXT),
        "images": COUNT,
        "keep_prediction": (bool,),
    },
    "explainers": [TEXT],
    "attacks": [{"label": TEXT, "name": TEXT}],
    "metrics": [FACTS | {"scope": set(SCOPES)}],
    "subjects": [{"label": TEXT, "seed": (int, type(None)), "sha256": TEXT, "control": (bool,)}],
    "entries": [{"subject": COUNT, "explainer": TEXT, "attack": TEXT, "metric": TEXT, "row": TEXT}],
    "accuracy_attack?": (type(None), {"label": TEXT, "metric": FACTS}),
    "interval": set(INTERVALS),
    "choices?": [
        {
            **dict.fromkeys(("sweep", "attack", "explainer"), TEXT),
            "metric": FACTS,
            "images": COUNT,
            "floor": NUMBER,
            "candidates": [CANDIDATE],
        }
    ],
}
ROW = {
    "schema": {SCHEMA},
    "status": {"ok", "failed"},
    **dict.fromkeys(("fingerprint", "error"), TEXT),
    "cell": {},
    "metric": {"label": TEXT, "unit": (bool,), "name": TEXT, "settings": {}, "plugin": TEXT},
    "flags?": [{"name": TEXT, "reason": TEXT}],
    "repeats?": [NUMBER],
}
RESULT = {
    **dict.fromkeys(("n", "n_defined", "n_legal"), COUNT),
    "mean": NUMBER,
    "ci": [NUMBER, NUMBER],
    "scores_sha256": TEXT,
}
"""What a row has beside, unless it failed."""


def misfits(value: Any, shape: Any, place: str = "") -> Iterator[str]:
    """Every place where a JSON value is not of a shape, e.g. ``entries.3.row``; ``the whole`` for the value itself.

    Args:
        value: as read.
        shape: a tuple of types and shapes of which one must fit; a set of values; a dict of what must be there, or may
            be where the key ends in ``?``; a list of the one shape of all items, or of the shape of each.
        place: of the value.
    """
    match shape:
        case dict() if isinstance(value, dict):
            for name, inner in shape.items():
                key = name.removesuffix("?")
                if key in value:
                    yield from misfits(value[key], inner, f"{place}.{key}".strip("."))
                elif key == name:
                    yield f"{place}.{key}".strip(".")
        case list() if isinstance(value, list) and len(shape) in (1, len(value)):
            for index, item in enumerate(value):
                yield from misfits(item, shape[index % len(shape)], f"{place}.{index}".strip("."))
        case set() if isinstance(value, (str, int)) and value in shape:
            return
        case tuple() if any(_is(value, option) for option in shape):
            return
        case _:
            yield place or "the whole"


def _is(value: Any, option: Any) -> bool:
    if isinstance(option, type):
        return isinstance(value, option) and (option is bool or not isinstance(value, bool))
    return not any(misfits(value, option))
